"""Steps: what `@workflow.step(...)` says about a function.

Owns a step's options, their checks and their wire form. Running a step is `runner`'s.
"""

from __future__ import annotations

from . import arguments, budget
from .approval import ApprovalGate, ApprovalPolicy
from .arguments import checked
from .origin import place_of_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from types import CodeType
    from typing import Any, Literal, Protocol, TypeAlias

    # Type checkers know its defaults before Python 3.13 does; it is not imported when anything runs.
    from typing_extensions import TypeVar

    from .context import Context, SyncContext
    from .context.db import Executed
    from .context.tools import ToolResult
    from .context.world import Decision

    Dependency: TypeAlias = "str | Callable[..., Any] | ApprovalGate"
    EffectClass: TypeAlias = Literal["idempotent", "at_least_once", "guarded"]
    OnAmbiguous: TypeAlias = Literal["rerun", "skip", "fail"]

    # wflo's own results are recorded as what they hold.
    Recorded: TypeAlias = Decision | Executed | ToolResult
    Output: TypeAlias = "bool | int | float | str | list[Any] | tuple[Any, ...] | Mapping[str, Any] | Recorded | None"
    """What a step may return: JSON. What is inside of lists and dicts is checked when it is recorded."""
    AsyncStep: TypeAlias = Callable[[Context], Awaitable[Output]]
    SyncStep: TypeAlias = Callable[[SyncContext], Output]
    StepFunction = TypeVar("StepFunction", bound=AsyncStep | SyncStep)

    class Decorator(Protocol):
        """What `workflow.step(option=...)` gives."""

        def __call__(self, function: StepFunction, /) -> StepFunction:
            """Makes the function a step."""
            ...

    # One signature for `@workflow.step` and `@workflow.step(...)`: of overloads, a type checker only says
    # that none matches, and not which option is wrong.
    StepOrDecorator = TypeVar("StepOrDecorator", bound=AsyncStep | SyncStep | Decorator, default=Decorator)

EFFECT_CLASSES = ("idempotent", "at_least_once", "guarded")
ON_AMBIGUOUS = ("rerun", "skip", "fail")

# Flags of code objects (`inspect` would add ten milliseconds to the start of every step).
_CO_GENERATOR, _CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200
_CO_VARARGS = 0x04


class Backoff:
    """How long to wait between tries: `initial_seconds`, then times `factor`, up to `max_seconds`.

    With `jitter` each wait is drawn at random between half and all of that.
    """

    __slots__ = ("factor", "initial_seconds", "jitter", "max_seconds")

    @checked
    def __init__(
        self, initial_seconds: float = 1.0, factor: float = 2.0, max_seconds: float = 60.0, jitter: bool = True
    ) -> None:
        self.initial_seconds = arguments.number("initial_seconds", initial_seconds)
        self.factor = arguments.number("factor", factor, least=1.0, most=1000.0)
        self.max_seconds = arguments.number("max_seconds", max_seconds)
        self.jitter = arguments.boolean("jitter", jitter)

    def wire(self) -> dict[str, Any]:
        """The backoff as it stands in a definition."""
        return {
            "initial_seconds": float(self.initial_seconds),
            "factor": float(self.factor),
            "max_seconds": float(self.max_seconds),
            "jitter": self.jitter,
        }


def backoff(value: object) -> Backoff:
    """A `Backoff`, from one, a dict of its arguments, or the first wait in seconds."""
    if isinstance(value, Backoff):
        return value
    if isinstance(value, dict):
        return Backoff(**value)  # pyright: ignore[reportUnknownArgumentType]
    first = arguments.number("retry_backoff", value)
    return Backoff(initial_seconds=first, max_seconds=max(60.0, first))


def dependencies(value: object) -> list[Dependency] | None:
    """The `depends_on` of a step: names, step functions or gates; `None` when left out."""
    if value is None:
        return None
    if isinstance(value, str):
        raise arguments.wrong("depends_on must be a list, not one text", hint=f'write depends_on=["{value}"]')
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise arguments.wrong(
            f"depends_on must be a list of step names, not {arguments.show(value)}", hint='write depends_on=["..."]'
        )
    items: list[Any] = sorted(value, key=str) if isinstance(value, (set, frozenset)) else list(value)  # type: ignore
    for index, item in enumerate(items):
        if not (isinstance(item, (str, ApprovalGate)) or callable(item)):
            raise arguments.wrong(
                f"depends_on[{index}] is {arguments.show(item)}", hint="give the name of a step, or its function"
            )
    return items


def code_of(function: object) -> CodeType | None:
    """The code that a callable runs, through `functools.partial`, methods and `__wrapped__`."""
    for _ in range(64):
        inner = getattr(function, "__wrapped__", None) or getattr(function, "func", None)
        if inner is None:
            break
        function = inner
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004
    return code


def is_async(function: object) -> bool:
    """Whether calling the step gives something to await."""
    code = code_of(function)
    return code is not None and bool(code.co_flags & _CO_COROUTINE)


class Step:
    """A step of a workflow: a function and its options."""

    __slots__ = ("depends_on", "function", "name", "options", "place")

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        depends_on: list[Dependency] | None,
        options: dict[str, Any],
    ) -> None:
        code = code_of(function)
        self.function = function
        self.name = name
        self.depends_on = depends_on
        self.options = options
        self.place = None if code is None else place_of_code(code)
        if code is None:
            return
        if code.co_flags & (_CO_GENERATOR | _CO_ASYNC_GENERATOR):
            raise arguments.wrong(
                f"step `{name}` is a generator: its `yield` has nobody to go to",
                code="WFLO-1507",
                hint="return the values, as a list if there are many",
            )
        plain = getattr(function, "__code__", None)
        if plain is not None and plain.co_argcount == 0 and not plain.co_flags & _CO_VARARGS:
            prefix = "async def" if plain.co_flags & _CO_COROUTINE else "def"
            raise arguments.wrong(
                f"step `{name}` takes no argument; a step is called with its context",
                code="WFLO-1507",
                hint=f"write `{prefix} {getattr(function, '__name__', name)}(context):`",
            )

    def wire(self) -> dict[str, Any]:
        """The step as it stands in a definition, less its dependencies."""
        wire: dict[str, Any] = {"name": self.name, "type": "agent", "handler": "code", **self.options}
        if self.place is not None:
            wire["place"] = self.place
        return wire


def options(
    *,
    approval_required: bool,
    approval: ApprovalPolicy | None,
    rollback_enabled: bool,
    retries: int,
    retry_backoff: object,
    timeout_seconds: object,
    agent: str | None,
    budget_given: object,
    cache: bool,
    effect_class: str | None,
    on_ambiguous: str | None,
) -> dict[str, Any]:
    """The options of `@workflow.step(...)`, checked, in wire form; what was left out is absent."""
    wire: dict[str, Any] = {}
    required = arguments.boolean("approval_required", approval_required)
    if approval is not None:
        if not isinstance(approval, ApprovalPolicy):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise arguments.wrong(
                f"approval must be an ApprovalPolicy, not {arguments.show(approval)}",
                hint="write approval=ApprovalPolicy(approvers=[...]), or approval_required=True",
            )
        if required and not approval.required:
            raise arguments.wrong("approval_required=True contradicts approval=ApprovalPolicy(required=False)")
        wire["approval"] = approval.wire()
    elif required:
        wire["approval"] = {"required": True}
    if arguments.boolean("rollback_enabled", rollback_enabled):
        wire["rollback_enabled"] = True
    if arguments.integer("retries", retries, most=100):
        wire["retries"] = retries
    if retry_backoff is not None:
        wire["retry_backoff"] = backoff(retry_backoff).wire()
    if timeout_seconds is not None:
        wire["timeout_seconds"] = arguments.seconds("timeout_seconds", timeout_seconds)
    if agent is not None:
        wire["agent"] = arguments.text("agent", agent)
    if budget_given is not None:
        limits = budget.limits("budget", budget_given, "step")
        if any(limit.per not in ("run", "step", "agent") for limit in limits):
            raise arguments.wrong("a step's budget is per run, step or agent", code="WFLO-1009")
        wire["budgets"] = [limit.wire() for limit in limits]
    if not arguments.boolean("cache", cache):
        wire["cache"] = False
    if effect_class is not None:
        wire["effect_class"] = arguments.choice("effect_class", effect_class, EFFECT_CLASSES)
    if on_ambiguous is not None:
        wire["on_ambiguous"] = arguments.choice("on_ambiguous", on_ambiguous, ON_AMBIGUOUS)
    return wire


def name_of(dependency: Dependency, steps: Sequence[Step | ApprovalGate]) -> str:
    """The name that a dependency stands for."""
    if isinstance(dependency, str):
        return dependency
    if isinstance(dependency, ApprovalGate):
        return dependency.name
    for step in steps:
        if isinstance(step, Step) and step.function is dependency:
            return step.name
    return str(getattr(dependency, "__name__", dependency))

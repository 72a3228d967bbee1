"""A workflow: steps, gates, budgets, policies and the sandbox they run in.

Owns the collecting of a definition and its wire form. It runs nothing itself: `run` hands over
to `client`, which starts the `wflo` binary.
"""

from __future__ import annotations

from . import arguments, budget, sandbox, session, step
from .approval import ApprovalGate
from .arguments import checked
from .origin import calling_frame
from .policy import Policy

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import Any, Literal, cast

    from .approval import ApprovalPolicy
    from .arguments import Money, Seconds
    from .budget import CostLimit, OnExceeded, Scope
    from .result import RunResult
    from .step import Backoff, Decorator, Dependency, EffectClass, OnAmbiguous, StepOrDecorator

    # Its type is what `@workflow.step(...)` gives.
    _NO_FUNCTION = cast(Decorator, None)
else:
    _NO_FUNCTION = None


_INPUT_TYPES: dict[object, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
}


class Workflow:
    """A workflow named `name`.

    `inputs` declares what a run takes: a Python type (`str, int, float, bool, list, dict`), or a
    dict with `type` (JSON Schema's names), `required` and `default`. `version` is a label beside
    the version that wflo computes from the definition and the code.
    """

    @checked
    def __init__(self, name: str, *, version: str | None = None, inputs: Mapping[str, Any] | None = None) -> None:
        self.name = arguments.name("workflow", name)
        self.version = None if version is None else arguments.text("version", version)
        self._inputs = _inputs(inputs)
        self._budgets: list[CostLimit] = []
        self._sandbox: dict[str, Any] = {}
        self._policies: list[Policy] = []
        self._steps: list[step.Step | ApprovalGate] = []
        frame = calling_frame()
        self.origin: tuple[str, dict[str, Any]] = (
            ("", {}) if frame is None else (frame.f_code.co_filename, frame.f_globals)
        )
        session.note_created(self)

    def __repr__(self) -> str:
        return f"Workflow({self.name!r}, steps={[item.name for item in self._steps]})"

    @checked
    def set_budget(
        self,
        limit: Money | CostLimit | Sequence[CostLimit] | None = None,
        *,
        max_cost_usd: Money | None = None,
        per: Scope = "run",
        max_model_calls: int | None = None,
        max_tool_calls: int | None = None,
        max_tokens: int | None = None,
        max_seconds: Seconds | None = None,
        min_output_tokens: int | None = None,
        alert_thresholds: Sequence[float] | None = None,
        action_on_exceeded: OnExceeded | None = None,
    ) -> None:
        """Limits what a run may take: `max_cost_usd` in US dollars, calls, tokens, or `CostLimit`s.

        `max_seconds` is how long its steps may run, each for itself.

        `alert_thresholds` are fractions of the limit. `action_on_exceeded` is `"halt"`, `"ask"`,
        `"queue"` or `"downgrade"`. `min_output_tokens` lets a call that does not fit be cut down to so
        many output tokens. Calls add up: none raises another's limit.
        """
        given = (max_cost_usd, max_model_calls, max_tool_calls, max_tokens, max_seconds)
        if (limit is None) == all(one is None for one in given):
            raise arguments.wrong("set_budget() takes one limit", hint="write set_budget(max_cost_usd=5.00)")
        if limit is not None:
            if alert_thresholds is not None or action_on_exceeded is not None or min_output_tokens is not None:
                raise arguments.wrong(
                    "alert_thresholds and action_on_exceeded belong to max_cost_usd=",
                    hint="give them to CostLimit(..., alert_thresholds=[...], on_exceeded=...)",
                )
            self._budgets.extend(budget.limits("limit", limit, per))
            return
        amount = None if max_cost_usd is None else arguments.money("max_cost_usd", max_cost_usd)
        if action_on_exceeded is not None:
            arguments.choice("action_on_exceeded", action_on_exceeded, budget.ACTIONS)
        self._budgets.append(
            budget.CostLimit(
                amount,
                per=per,
                on_exceeded=action_on_exceeded,
                alert_thresholds=alert_thresholds,
                max_model_calls=max_model_calls,
                max_tool_calls=max_tool_calls,
                max_tokens=max_tokens,
                max_seconds=max_seconds,
                min_output_tokens=min_output_tokens,
            )
        )

    @checked
    def configure_sandbox(
        self,
        *,
        memory_limit: str | int | None = None,
        cpu_limit: str | float | None = None,
        pids_limit: int | None = None,
        disk_limit: str | int | None = None,
        inodes_limit: int | None = None,
        io: Mapping[str, str | int] | None = None,
        network: Mapping[str, str | int] | None = None,
        network_enabled: bool | None = None,
        timeout_seconds: Seconds | None = None,
        allow_hosts: Sequence[str] | None = None,
        env: Sequence[str] | None = None,
        hide: Sequence[str] | None = None,
        backend: Literal["native", "docker", "gvisor", "e2b", "none"] | None = None,
    ) -> None:
        """Sets limits of each step's sandbox. What is left out stands as in `wflo.toml`.

        Sizes are `"512m"` or bytes, `cpu_limit` is a number of CPUs, `timeout_seconds` is a step's time limit,
        `inodes_limit` a number of files, folders and links. `io` limits each disk in a second: `read` and
        `write` are sizes, `read_ops` and `write_ops` numbers of operations. `network` limits what a run sends to
        hosts and receives from them (`sent`, `received`: sizes) and how many connections it makes (`requests`),
        and for each sandbox how many are open at once (`connections`) and begin in a minute
        (`requests_per_minute`). `env` names environment variables to pass through, `hide` files to hide.
        """
        given = {
            "memory_limit": memory_limit,
            "cpu_limit": cpu_limit,
            "pids_limit": pids_limit,
            "disk_limit": disk_limit,
            "inodes_limit": inodes_limit,
            "io": io,
            "network": network,
            "network_enabled": network_enabled,
            "timeout_seconds": timeout_seconds,
            "allow_hosts": allow_hosts,
            "env": env,
            "hide": hide,
            "backend": backend,
        }
        self._sandbox.update(sandbox.settings(given))

    @checked
    def add_policy(self, policy: Policy) -> None:
        """Adds a policy."""
        given = policy
        if not isinstance(given, Policy):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise arguments.wrong(
                f"add_policy() takes a Policy, not {arguments.show(given)}",
                hint="write Policy(name=..., condition=Condition(...), actions=[...])",
            )
        if any(other.name == given.name for other in self._policies):
            raise arguments.wrong(f"there are two policies named `{given.name}`", hint="give one another name")
        self._policies.append(given)

    @checked
    def add(self, gate: ApprovalGate) -> ApprovalGate:
        """Adds an approval gate as a step, and returns it (for a later step's `depends_on`)."""
        given = gate
        if not isinstance(given, ApprovalGate):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise arguments.wrong(
                f"add() takes an ApprovalGate, not {arguments.show(given)}",
                hint="functions become steps with @workflow.step",
            )
        self._append(given)
        return given

    @checked
    def step(
        self,
        function: StepOrDecorator = _NO_FUNCTION,  # type: ignore[assignment]  # pyright: ignore
        /,
        *,
        name: str | None = None,
        depends_on: Sequence[Dependency] | None = None,
        approval_required: bool = False,
        approval: ApprovalPolicy | None = None,
        rollback_enabled: bool = False,
        retries: int = 0,
        retry_backoff: Backoff | float | Mapping[str, Any] | None = None,
        timeout_seconds: Seconds | None = None,
        agent: str | None = None,
        budget: Money | CostLimit | Sequence[CostLimit] | None = None,
        cache: bool = True,
        effect_class: EffectClass | None = None,
        on_ambiguous: OnAmbiguous | None = None,
    ) -> StepOrDecorator:
        """Makes a function a step: `@workflow.step` or `@workflow.step(option=...)`.

        `depends_on` lists steps by name or function; left out, the step comes after the one
        defined before it; `[]` makes it a root. `approval_required` asks before the step's writes are
        made. `rollback_enabled` refuses data changes that could not be undone.
        `retries` counts further tries, `retry_backoff` is a `Backoff` or the first wait in
        seconds, `timeout_seconds` excludes waits for people. `agent` names whom costs are
        attributed to. `budget` limits this step in US dollars. `cache=False` always asks the model,
        where wflo.toml has kept answers given again. `effect_class` is `"idempotent"`,
        `"at_least_once"` or `"guarded"`; `on_ambiguous` says what to do with a guarded effect
        whose result was lost: `"rerun"`, `"skip"` or `"fail"`.
        """
        after = step.dependencies(depends_on)
        if name is not None:
            arguments.name("step", name)
        options = step.options(
            approval_required=approval_required,
            approval=approval,
            rollback_enabled=rollback_enabled,
            retries=retries,
            retry_backoff=retry_backoff,
            timeout_seconds=timeout_seconds,
            agent=agent,
            budget_given=budget,
            cache=cache,
            effect_class=effect_class,
            on_ambiguous=on_ambiguous,
        )

        def decorate(function: Any) -> Any:
            if not callable(function):
                raise arguments.wrong(
                    f"@workflow.step decorates a function, not {arguments.show(function)}",
                    hint='options have names: @workflow.step(depends_on=["..."])',
                )
            own: str | None = name or getattr(function, "__name__", None)
            if own is None or own == "<lambda>":
                raise arguments.wrong("this step has no name", hint='write workflow.step(name="...")(function)')
            self._append(step.Step(function, arguments.name("step", own), after, options))
            return function

        return decorate if function is _NO_FUNCTION else decorate(function)  # pyright: ignore[reportReturnType]

    def _append(self, item: step.Step | ApprovalGate) -> None:
        for other in self._steps:
            if other.name == item.name:
                raise arguments.wrong(
                    f"two steps are named `{item.name}`; the first is at {other.place}",
                    code="WFLO-1003",
                    hint="give one of them another name",
                )
        self._steps.append(item)

    def step_named(self, name: str) -> step.Step | None:
        """The function step of that name."""
        for item in self._steps:
            if item.name == name and isinstance(item, step.Step):
                return item
        return None

    def dependencies(self) -> dict[str, list[str]]:
        """The steps that each step depends on, by name."""
        return {item.name: after for item, after in zip(self._steps, self._dependencies(), strict=True)}

    def _dependencies(self) -> list[list[str]]:
        """The same in the order of the steps: two may have one name until that is refused."""
        names = [item.name for item in self._steps]
        return [
            names[max(index - 1, 0) : index]
            if item.depends_on is None
            else [step.name_of(dependency, self._steps) for dependency in item.depends_on]
            for index, item in enumerate(self._steps)
        ]

    def definition(self) -> dict[str, Any]:
        """The workflow as data: what `docs/protocol.md` calls DEFINITION."""
        from .errors import DefinitionError

        names = [item.name for item in self._steps]
        steps: list[dict[str, Any]] = []
        for item, after in zip(self._steps, self._dependencies(), strict=True):
            for name in after:
                if name not in names:
                    close = arguments.nearest(name, names)
                    raise DefinitionError(
                        f"step `{item.name}` depends on `{name}`, which is not a step",
                        code="WFLO-1004",
                        hint=f"did you mean `{close}`?" if close else f"steps: {', '.join(names)}",
                        place=item.place,
                    )
            wire = item.wire()
            wire["depends_on"] = after
            steps.append(wire)
        return {
            "name": self.name,
            "version": self.version,
            "inputs": self._inputs,
            "budgets": [limit.wire() for limit in self._budgets],
            "sandbox": self._sandbox,
            "policies": [policy.wire() for policy in self._policies],
            "steps": steps,
        }

    @checked
    def run(
        self,
        inputs: Mapping[str, Any] | None = None,
        *,
        sandbox: bool | str = True,
        trace: bool = False,
        notify: str | Sequence[str] | None = None,
        project: str | os.PathLike[str] | None = None,
        on_event: Callable[[dict[str, Any]], object] | None = None,
    ) -> Coroutine[Any, Any, RunResult]:
        """Runs the workflow with the installed `wflo` and waits for its end.

        `inputs` must be JSON. `sandbox` is a bool or a backend's name; `trace=True` also exports
        the trace when an OTLP endpoint is set; `notify` is a channel URL or several. `project` is
        the project's folder; left out, it is the one that holds the workflow's file (the nearest
        upwards with a `wflo.toml`, else the file's own). `on_event` is called with each event;
        what it raises stops the run, which can be resumed. A run that does not complete raises
        the `RunError` of its status (`RunFailed, RunHalted, RunRejected, RunCancelled,
        RunTimedOut, RunLeftWaiting`); one that never began raises `RunNotStarted`.
        """
        session.stop_here(self)
        from . import client

        return client.run(client.command(self, inputs, sandbox, trace, notify, project), on_event)

    @checked
    def run_sync(
        self,
        inputs: Mapping[str, Any] | None = None,
        *,
        sandbox: bool | str = True,
        trace: bool = False,
        notify: str | Sequence[str] | None = None,
        project: str | os.PathLike[str] | None = None,
        on_event: Callable[[dict[str, Any]], object] | None = None,
    ) -> RunResult:
        """As `run`, for scripts without an event loop."""
        session.stop_here(self)
        from . import client

        return client.run_sync(client.command(self, inputs, sandbox, trace, notify, project), on_event)

    @checked
    def submit(
        self,
        inputs: Mapping[str, Any] | None = None,
        *,
        sandbox: bool | str = True,
        trace: bool = False,
        notify: str | Sequence[str] | None = None,
        project: str | os.PathLike[str] | None = None,
    ) -> str:
        """Starts the workflow in the background and returns the run's id once it is durable."""
        session.stop_here(self)
        from . import client

        return client.submit(client.command(self, inputs, sandbox, trace, notify, project, detach=True))


def _inputs(given: object) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise arguments.wrong(f"inputs must be a dict, not {arguments.show(given)}", hint='write inputs={"text": str}')
    declared: dict[str, Any] = {}
    items: dict[Any, Any] = given  # type: ignore[assignment]
    for name, value in items.items():
        arguments.text("the name of an input", name)
        if isinstance(value, dict):
            wire: dict[str, Any] = dict(value)  # type: ignore[arg-type]
            wire["type"] = _INPUT_TYPES.get(wire.get("type"), wire.get("type"))
            for key in wire:
                arguments.choice(f"inputs[{name!r}] key", key, ("type", "required", "default"))
            if wire["type"] is None:
                raise arguments.wrong(f"inputs[{name!r}] has no type", hint='write {"type": "string"}')
        else:
            wire = {"type": _INPUT_TYPES.get(value, value), "required": True}
        wire["type"] = arguments.choice(f"inputs[{name!r}] type", wire["type"], tuple(_INPUT_TYPES.values()))
        if "required" in wire:
            arguments.boolean(f"inputs[{name!r}] required", wire["required"])
        else:
            wire["required"] = "default" not in wire
        declared[name] = wire
    return declared

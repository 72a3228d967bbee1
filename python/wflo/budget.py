"""Budgets: limits on what may be used: US dollars, calls, tokens, time.

Owns one limit and its wire form. Holding and settling are the engine's.
"""

from __future__ import annotations

from . import arguments
from .arguments import checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal, TypeAlias

    from .arguments import Money, Seconds

    Scope: TypeAlias = Literal["run", "step", "agent", "workflow", "org", "label", "hour", "day", "week", "month"]
    Period: TypeAlias = Literal["total", "hour", "day", "week", "month"]
    OnExceeded: TypeAlias = Literal["halt", "ask", "queue", "downgrade"]

SCOPES = ("run", "step", "agent", "workflow", "org", "label", "hour", "day", "week", "month")
PERIODS = ("total", "hour", "day", "week", "month")
ACTIONS = ("halt", "ask", "queue", "downgrade")
LIMITS = ("max_model_calls", "max_tool_calls", "max_tokens", "max_seconds")


class CostLimit:
    """One budget: at most `max_cost_usd` US dollars per `per`, or so many calls, tokens or seconds.

    `max_model_calls`, `max_tool_calls` and `max_tokens` are whole numbers. Each is held before
    a call and settled after it. `max_seconds` is how long steps may run, each for itself; a step
    that waits for a person or for a time does not.

    `per` is what it covers, `period` over which span (with `per="workflow"`, `"org"` or `"label"`),
    `time_zone` where the span begins, an IANA name. `agent` limits one agent only, `label` is `"user"`
    (each of its values its own) or `"user=anna"`.

    `on_exceeded`: `"halt"` ends the run, `"ask"` asks a person for more, `"queue"` waits for room, the
    next period or a top-up for at most `queue_timeout_seconds`, `"downgrade"` calls a cheaper model.
    `min_output_tokens` lets a call that does not fit be cut down to so many output tokens.
    `alert_thresholds` are fractions of the limit at which an event is recorded. Limits from flags,
    files and code add up: none raises another's.
    """

    __slots__ = (
        "agent",
        "alert_thresholds",
        "label",
        "max_cost_usd",
        "max_model_calls",
        "max_seconds",
        "max_tokens",
        "max_tool_calls",
        "min_output_tokens",
        "on_exceeded",
        "per",
        "period",
        "queue_timeout_seconds",
        "time_zone",
    )

    @checked
    def __init__(
        self,
        max_cost_usd: Money | None = None,
        per: Scope = "run",
        on_exceeded: OnExceeded | None = None,
        agent: str | None = None,
        alert_thresholds: Sequence[float] | None = None,
        *,
        max_model_calls: int | None = None,
        max_tool_calls: int | None = None,
        max_tokens: int | None = None,
        max_seconds: Seconds | None = None,
        period: Period | None = None,
        time_zone: str | None = None,
        label: str | None = None,
        min_output_tokens: int | None = None,
        queue_timeout_seconds: Seconds | None = None,
    ) -> None:
        given = (max_cost_usd, max_model_calls, max_tool_calls, max_tokens, max_seconds)
        if all(limit is None for limit in given):
            raise arguments.wrong("a budget needs a limit", hint="write CostLimit(5.00)")
        self.max_cost_usd = None if max_cost_usd is None else arguments.money("max_cost_usd", max_cost_usd)
        self.max_model_calls = _count("max_model_calls", max_model_calls)
        self.max_tool_calls = _count("max_tool_calls", max_tool_calls)
        self.max_tokens = _count("max_tokens", max_tokens)
        self.max_seconds = None if max_seconds is None else arguments.seconds("max_seconds", max_seconds)
        self.per = arguments.choice("per", per, SCOPES)
        self.period = None if period is None else arguments.choice("period", period, PERIODS)
        self.time_zone = None if time_zone is None else arguments.text("time_zone", time_zone)
        self.on_exceeded = None if on_exceeded is None else arguments.choice("on_exceeded", on_exceeded, ACTIONS)
        self.agent = None if agent is None else arguments.text("agent", agent)
        self.label = None if label is None else arguments.text("label", label)
        self.alert_thresholds = (
            None if alert_thresholds is None else arguments.fractions("alert_thresholds", alert_thresholds)
        )
        self.min_output_tokens = _count("min_output_tokens", min_output_tokens, least=1)
        self.queue_timeout_seconds = (
            None if queue_timeout_seconds is None else arguments.seconds("queue_timeout_seconds", queue_timeout_seconds)
        )

    def __repr__(self) -> str:
        first = repr(self.max_cost_usd)
        if self.max_cost_usd is None:
            counts = [name for name in LIMITS if getattr(self, name) is not None]
            first = ", ".join(f"{name}={getattr(self, name)!r}" for name in counts)
        return f"CostLimit({first}, per={self.per!r})"

    def wire(self) -> dict[str, Any]:
        """The limit as it stands in a definition."""
        wire: dict[str, Any] = {
            "max_cost_usd": self.max_cost_usd,
            "per": self.per,
            "agent": self.agent,
            "action_on_exceeded": self.on_exceeded,
        }
        for name in (
            *LIMITS,
            "period",
            "time_zone",
            "label",
            "alert_thresholds",
            "min_output_tokens",
            "queue_timeout_seconds",
        ):
            value = getattr(self, name)
            if value is not None:
                wire[name] = value
        return wire


def _count(name: str, value: object, least: int = 0) -> int | None:
    return None if value is None else arguments.integer(name, value, least=least)


def limits(name: str, value: object, per: Scope) -> list[CostLimit]:
    """The limits in an argument: an amount, a `CostLimit`, or a list of them."""
    if isinstance(value, CostLimit):
        return [value]
    if isinstance(value, (list, tuple)):
        items: list[object] = list(value)  # type: ignore
        return [limit for index, item in enumerate(items) for limit in limits(f"{name}[{index}]", item, per)]
    if isinstance(value, dict):
        raise arguments.wrong(f"{name} must be an amount or a CostLimit", hint=f"write {name}=CostLimit(5.00)")
    return [CostLimit(arguments.money(name, value), per=per)]

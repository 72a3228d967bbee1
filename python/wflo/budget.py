"""Budgets: limits on what may be spent, in US dollars.

Owns one limit and its wire form. Holding and settling money is the engine's.
"""

from __future__ import annotations

from . import arguments
from .arguments import checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal, TypeAlias

    from .arguments import Money

    Scope: TypeAlias = Literal["run", "step", "agent", "workflow", "hour", "day", "week", "month"]
    OnExceeded: TypeAlias = Literal["halt", "ask", "queue", "downgrade"]

SCOPES = ("run", "step", "agent", "workflow", "hour", "day", "week", "month")
ACTIONS = ("halt", "ask", "queue", "downgrade")


class CostLimit:
    """One budget: at most `max_cost_usd` US dollars per `per`.

    `on_exceeded`: `"halt"` ends the run, `"ask"` asks a person for more. `agent` limits one agent
    only. `alert_thresholds` are fractions of the limit at which an event is recorded. Limits from
    flags, files and code add up: none raises another's.
    """

    __slots__ = ("agent", "alert_thresholds", "max_cost_usd", "on_exceeded", "per")

    @checked
    def __init__(
        self,
        max_cost_usd: Money,
        per: Scope = "run",
        on_exceeded: OnExceeded | None = None,
        agent: str | None = None,
        alert_thresholds: Sequence[float] | None = None,
    ) -> None:
        self.max_cost_usd = arguments.money("max_cost_usd", max_cost_usd)
        self.per = arguments.choice("per", per, SCOPES)
        self.on_exceeded = None if on_exceeded is None else arguments.choice("on_exceeded", on_exceeded, ACTIONS)
        self.agent = None if agent is None else arguments.text("agent", agent)
        self.alert_thresholds = (
            None if alert_thresholds is None else arguments.fractions("alert_thresholds", alert_thresholds)
        )

    def __repr__(self) -> str:
        return f"CostLimit({self.max_cost_usd!r}, per={self.per!r})"

    def wire(self) -> dict[str, Any]:
        """The limit as it stands in a definition."""
        wire: dict[str, Any] = {
            "max_cost_usd": self.max_cost_usd,
            "per": self.per,
            "agent": self.agent,
            "action_on_exceeded": self.on_exceeded,
        }
        if self.alert_thresholds is not None:
            wire["alert_thresholds"] = self.alert_thresholds
        return wire


def limits(name: str, value: object, per: str) -> list[CostLimit]:
    """The limits in an argument: an amount, a `CostLimit`, or a list of them."""
    if isinstance(value, CostLimit):
        return [value]
    if isinstance(value, (list, tuple)):
        items: list[object] = list(value)  # type: ignore
        return [limit for index, item in enumerate(items) for limit in limits(f"{name}[{index}]", item, per)]
    if isinstance(value, dict):
        raise arguments.wrong(f"{name} must be an amount or a CostLimit", hint=f"write {name}=CostLimit(5.00)")
    limit = CostLimit.__new__(CostLimit)
    limit.max_cost_usd = arguments.money(name, value)
    limit.per, limit.on_exceeded, limit.agent, limit.alert_thresholds = per, None, None, None
    return [limit]

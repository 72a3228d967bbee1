"""Policies: a condition in CEL and what happens when it holds.

Owns the condition's and the actions' wire form. Conditions are type-checked and evaluated by the
engine, which fails closed.
"""

from __future__ import annotations

from . import arguments
from .arguments import checked
from .origin import calling_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

    from .arguments import Money

    Action: TypeAlias = "RequireApproval | Notify | Deny | CapBudget | Route"


class Condition:
    """A CEL expression that is true or false, such as `"estimated_cost > 100"` (US dollars)."""

    __slots__ = ("expression",)

    @checked
    def __init__(self, expression: str) -> None:
        self.expression = arguments.text("expression", expression)

    def __repr__(self) -> str:
        return f"Condition({self.expression!r})"


class RequireApproval:
    """Action: people must approve first."""

    __slots__ = ("approvers",)

    @checked
    def __init__(self, approvers: Sequence[str] = ()) -> None:
        self.approvers = arguments.texts("approvers", approvers)

    def wire(self) -> dict[str, Any]:
        """The action as it stands in a definition."""
        return {"type": "require_approval", "approvers": self.approvers}


class Notify:
    """Action: tell a channel, given as a URL such as `"slack://finance-channel"`."""

    __slots__ = ("channel",)

    @checked
    def __init__(self, channel: str) -> None:
        self.channel = channel_url("channel", channel)

    def wire(self) -> dict[str, Any]:
        """The action as it stands in a definition."""
        return {"type": "notify", "channel": self.channel}


class Deny:
    """Action: refuse. `message` is shown to whoever asked."""

    __slots__ = ("message",)

    @checked
    def __init__(self, message: str | None = None) -> None:
        self.message = None if message is None else arguments.text("message", message)

    def wire(self) -> dict[str, Any]:
        """The action as it stands in a definition."""
        return {"type": "deny"} if self.message is None else {"type": "deny", "reason": self.message}


class CapBudget:
    """Action: from here on at most `max_cost_usd` US dollars."""

    __slots__ = ("max_cost_usd",)

    @checked
    def __init__(self, max_cost_usd: Money) -> None:
        self.max_cost_usd = arguments.money("max_cost_usd", max_cost_usd)

    def wire(self) -> dict[str, Any]:
        """The action as it stands in a definition."""
        return {"type": "cap_budget", "max_cost_usd": self.max_cost_usd}


class Route:
    """Action: use this model instead."""

    __slots__ = ("model",)

    @checked
    def __init__(self, model: str) -> None:
        self.model = arguments.text("model", model)

    def wire(self) -> dict[str, Any]:
        """The action as it stands in a definition."""
        return {"type": "route", "model": self.model}


_ACTIONS = (RequireApproval, Notify, Deny, CapBudget, Route)


class Policy:
    """A named rule: when `condition` holds, `actions` happen in order."""

    __slots__ = ("actions", "condition", "name", "place")

    @checked
    def __init__(self, name: str, condition: Condition | str, actions: Sequence[Action]) -> None:
        self.name = arguments.text("name", name)
        if isinstance(condition, Condition):
            self.condition = condition.expression
        else:
            self.condition = arguments.text("condition", condition)
        self.place = calling_place()
        self.actions: list[Action] = []
        given: object = actions
        if not isinstance(given, (list, tuple)):
            raise arguments.wrong(
                f"actions must be a list, not {arguments.show(given)}", hint="write actions=[RequireApproval()]"
            )
        for index, action in enumerate(actions):
            if not isinstance(action, _ACTIONS):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise arguments.wrong(
                    f"actions[{index}] is {arguments.show(action)}",
                    hint="use RequireApproval(...), Notify(...), Deny(), CapBudget(...) or Route(...)",
                )
            self.actions.append(action)
        if not self.actions:
            raise arguments.wrong(f"policy `{name}` has no actions", hint="write actions=[RequireApproval()]")

    def wire(self) -> dict[str, Any]:
        """The policy as it stands in a definition."""
        wire: dict[str, Any] = {
            "name": self.name,
            "condition": self.condition,
            "actions": [action.wire() for action in self.actions],
        }
        if self.place is not None:
            wire["place"] = self.place
        return wire


def channel_url(name: str, value: object) -> str:
    """A channel: `scheme://where`."""
    url = arguments.text(name, value)
    scheme, separator, where = url.partition("://")
    if not separator or not scheme or not where:
        raise arguments.wrong(f"{name} must be a channel URL, not {arguments.show(url)}", hint=f'write "slack://{url}"')
    return url

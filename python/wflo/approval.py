"""Approvals: gates in the workflow and policies on a step.

Owns what a definition says about who decides and when. Asking, binding and deciding are the
engine's.
"""

from __future__ import annotations

from . import arguments
from .arguments import checked
from .origin import calling_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Literal, TypeAlias

    from .arguments import Seconds
    from .step import Dependency

    OnTimeout: TypeAlias = Literal["reject", "escalate", "hold"]
    OnRejected: TypeAlias = Literal["stop", "continue"]
    When: TypeAlias = Literal["write", "start"]

ON_TIMEOUT = ("reject", "escalate", "hold")
ON_REJECTED = ("stop", "continue")
WHEN = ("write", "start")


class ApprovalPolicy:
    """When and by whom a step's effects are approved.

    `when="write"` (the default) asks before the step's writes are made, once for all of them and
    with the rows that they change; `when="start"` asks before the step begins. `timeout_seconds`
    is how long people have; `on_timeout` is what happens then: `"reject"`, `"escalate"` or `"hold"`.
    """

    __slots__ = ("approvers", "notify", "on_timeout", "quorum", "required", "timeout_seconds", "when")

    @checked
    def __init__(
        self,
        required: bool = True,
        approvers: Sequence[str] = (),
        notify: Sequence[str] = (),
        when: When = "write",
        quorum: int = 1,
        timeout_seconds: Seconds | None = None,
        on_timeout: OnTimeout | None = None,
    ) -> None:
        self.required = arguments.boolean("required", required)
        self.approvers = arguments.texts("approvers", approvers)
        self.notify = arguments.texts("notify", notify)
        self.when = arguments.choice("when", when, WHEN)
        self.quorum = arguments.integer("quorum", quorum, least=1)
        self.timeout_seconds = (
            None if timeout_seconds is None else arguments.seconds("timeout_seconds", timeout_seconds)
        )
        self.on_timeout = None if on_timeout is None else arguments.choice("on_timeout", on_timeout, ON_TIMEOUT)

    def wire(self) -> dict[str, Any]:
        """The policy as it stands in a definition."""
        wire: dict[str, Any] = {
            "required": self.required,
            "approvers": self.approvers,
            "notify": self.notify,
            "when": self.when,
            "quorum": self.quorum,
        }
        if self.timeout_seconds is not None:
            wire["timeout_seconds"] = self.timeout_seconds
        if self.on_timeout is not None:
            wire["on_timeout"] = self.on_timeout
        return wire


class ApprovalGate:
    """A step at which people decide: `workflow.add(ApprovalGate("sign_off", approvers=["ops"]))`.

    `quorum` approvals are needed. With `on_rejected="continue"` the run goes on after a no, and
    later steps read `context.outputs["sign_off"]["approved"]`; the default `"stop"` ends it.
    `depends_on` omitted means after the step defined before it.
    """

    __slots__ = (
        "approvers",
        "depends_on",
        "message",
        "name",
        "notify",
        "on_rejected",
        "on_timeout",
        "place",
        "quorum",
        "timeout_seconds",
    )

    @checked
    def __init__(
        self,
        name: str,
        approvers: Sequence[str] = (),
        quorum: int = 1,
        timeout_seconds: Seconds | None = None,
        on_timeout: OnTimeout | None = None,
        on_rejected: OnRejected = "stop",
        message: str | None = None,
        notify: Sequence[str] = (),
        depends_on: Sequence[str | Callable[..., Any] | ApprovalGate] | None = None,
    ) -> None:
        from .step import dependencies

        self.name = arguments.name("step", name)
        self.approvers = arguments.texts("approvers", approvers)
        self.quorum = arguments.integer("quorum", quorum, least=1)
        self.timeout_seconds = (
            None if timeout_seconds is None else arguments.seconds("timeout_seconds", timeout_seconds)
        )
        self.on_timeout = None if on_timeout is None else arguments.choice("on_timeout", on_timeout, ON_TIMEOUT)
        self.on_rejected = arguments.choice("on_rejected", on_rejected, ON_REJECTED)
        self.message = None if message is None else arguments.text("message", message)
        self.notify = arguments.texts("notify", notify)
        self.depends_on: list[Dependency] | None = dependencies(depends_on)
        self.place = calling_place()

    def __repr__(self) -> str:
        return f"ApprovalGate({self.name!r})"

    def wire(self) -> dict[str, Any]:
        """The gate as it stands in a definition, less its dependencies."""
        wire: dict[str, Any] = {
            "name": self.name,
            "type": "approval",
            "approvers": self.approvers,
            "quorum": self.quorum,
            "on_rejected": self.on_rejected,
            "notify": self.notify,
        }
        if self.timeout_seconds is not None:
            wire["timeout_seconds"] = self.timeout_seconds
        if self.on_timeout is not None:
            wire["on_timeout"] = self.on_timeout
        if self.message is not None:
            wire["message"] = self.message
        if self.place is not None:
            wire["place"] = self.place
        return wire

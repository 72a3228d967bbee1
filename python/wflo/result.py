"""What a run came to.

Owns `RunResult` and which exception stands for which status.
"""

from __future__ import annotations

from . import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from decimal import Decimal
    from typing import Any


class RunResult:
    """A run as `wflo runs show ID --json` prints it.

    `cost_usd` is in US dollars, exact. `outputs` holds each step's output by name. `raw` is the
    whole object.
    """

    __slots__ = ("error", "id", "outputs", "raw", "status")

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.id: str = str(raw.get("id", ""))
        self.status: str = str(raw.get("status", ""))
        self.outputs: dict[str, Any] = raw.get("outputs") or {}
        self.error: dict[str, Any] | None = raw.get("error")

    @property
    def cost_usd(self) -> Decimal:
        """What the run cost so far, in US dollars."""
        from decimal import Decimal

        return Decimal(str(self.raw.get("cost_usd") or "0"))

    def __repr__(self) -> str:
        return f"RunResult(id={self.id!r}, status={self.status!r}, cost_usd={str(self.cost_usd)!r})"


_BY_STATUS: dict[str, tuple[type[errors.RunError], str]] = {
    "failed": (errors.RunFailed, "failed"),
    "halted": (errors.RunHalted, "was halted by a budget"),
    "rejected": (errors.RunRejected, "was rejected"),
    "cancelled": (errors.RunCancelled, "was cancelled"),
    "timed_out": (errors.RunTimedOut, "timed out"),
    "rolled_back": (errors.RunRolledBack, "was rolled back"),
    "waiting": (errors.RunLeftWaiting, "is waiting"),
    "paused": (errors.RunLeftWaiting, "is paused"),
}


def completed(raw: dict[str, Any]) -> RunResult:
    """The result of a run that completed.

    Raises the `RunError` of its status otherwise.
    """
    result = RunResult(raw)
    if result.status == "completed":
        return result
    kind, verb = _BY_STATUS.get(result.status, (errors.RunLeftWaiting, f"is {result.status}"))
    error = result.error or {}
    message = f"run {result.id} {verb}"
    if error.get("message"):
        message = f"{message}: {error['message']}"
    hint = error.get("hint")
    if hint is None and kind is errors.RunLeftWaiting:
        hint = f"see `wflo approvals list`, then `wflo runs resume {result.id}`"
    raise kind(message, result=result, code=str(error.get("code") or "WFLO-3300"), hint=hint)

"""Every error that wflo raises in Python, with its stable code and what to do about it.

Owns the exception classes and how they render. It decides nothing: who raises what stands with
the noun concerned. Each code has a page in `docs/errors/`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .result import RunResult

__all__ = [
    "ApprovalRejected",
    "BudgetExceeded",
    "DatabaseError",
    "DefinitionError",
    "EffectError",
    "EffectTimeout",
    "InputMissing",
    "Interrupted",
    "ModelError",
    "NotAvailable",
    "PolicyDenied",
    "ReplayMismatch",
    "RunCancelled",
    "RunError",
    "RunFailed",
    "RunHalted",
    "RunLeftWaiting",
    "RunNotStarted",
    "RunRejected",
    "RunRolledBack",
    "RunTimedOut",
    "StepCancelled",
    "StepError",
    "ValueNotJson",
    "ValueTooLarge",
    "WfloError",
    "WorkflowInvalid",
]


class WfloError(Exception):
    """An error with a stable code (`WFLO-1501`), a one-line message and, mostly, a hint."""

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        # What stands below, such as an expression with its mistake marked, keeps its own lines.
        first, end, rest = self.message.partition("\n")
        text = f"{first} [{self.code}]{end}{rest}"
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class DefinitionError(WfloError):
    """The workflow is not well defined. `place` is the user's line, such as `workflow.py:12`."""

    def __init__(
        self, message: str, *, code: str = "WFLO-1501", hint: str | None = None, place: str | None = None
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.place = place

    def __str__(self) -> str:
        text = super().__str__()
        return f"{self.place}: {text}" if self.place else text


class StepError(WfloError):
    """Step code used its context in a way that cannot be recorded or replayed."""


class ValueNotJson(StepError, TypeError):
    """A value that must be recorded is not JSON. The message names the path inside the value."""


class ValueTooLarge(StepError, ValueError):
    """A value is larger than one protocol frame (8 MiB). Nothing of it was sent."""


class InputMissing(StepError, KeyError):
    """Step code read an input that the run was not given."""


class StepCancelled(BaseException):
    """Raised into a sync step that is being cancelled; async steps get `asyncio.CancelledError`.

    Not an `Exception`, so that an `except Exception:` does not swallow it.
    """


class EffectError(WfloError):
    """An effect (a model call, a statement, a tool ...) was refused or failed.

    `effect` is its identity in the step, as `(path, seq)`; `kind` says what went wrong.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "WFLO-3311",
        hint: str | None = None,
        kind: str = "failed",
        effect: tuple[str, int] | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.kind = kind
        self.effect = effect
        self.details: dict[str, Any] = details or {}


class BudgetExceeded(EffectError):
    """The call could have cost more than a budget has left. It was not sent."""


class ApprovalRejected(EffectError):
    """People said no, or nobody answered in time."""


class PolicyDenied(EffectError):
    """A policy of the workflow or of the operator denies this action."""


class Interrupted(EffectError):
    """A stream was cut by a crash after part of it had been used. The call is charged."""


class DatabaseError(EffectError):
    """The database refused the statement, or a limit on statements did."""


class ModelError(EffectError):
    """The model's provider refused the call or failed to answer it."""


class EffectTimeout(EffectError, TimeoutError):
    """The effect's own deadline passed."""


class ReplayMismatch(EffectError):
    """On resume the code asked for another effect than the one it made before."""


class NotAvailable(EffectError):
    """This release cannot do that; the message names what can."""


_BY_KIND: dict[str, type[EffectError]] = {
    "approval_rejected": ApprovalRejected,
    "budget_exceeded": BudgetExceeded,
    "database": DatabaseError,
    "interrupted": Interrupted,
    "model": ModelError,
    "not_available": NotAvailable,
    "policy_denied": PolicyDenied,
    "replay_mismatch": ReplayMismatch,
    "timeout": EffectTimeout,
}


def effect_error(error: dict[str, Any], effect: tuple[str, int]) -> EffectError:
    """The exception for the `error` object of an `effect_result` frame."""
    kind = str(error.get("kind", "failed"))
    hint = error.get("hint")
    details: dict[str, Any] = {
        key: value for key, value in error.items() if key not in ("code", "kind", "message", "hint")
    }
    return _BY_KIND.get(kind, EffectError)(
        str(error.get("message", "the effect failed")),
        code=str(error.get("code", "WFLO-3311")),
        hint=str(hint) if hint is not None else None,
        kind=kind,
        effect=effect,
        details=details,
    )


class RunNotStarted(WfloError):
    """No run came to be: the definition or the options were refused, or `wflo` is missing.

    `failures` is all that `wflo` had to say, each a dict with `code`, `message` and, where they
    apply, `hint`, `place` and `traceback`; the first one is this error.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "WFLO-8503",
        hint: str | None = None,
        exit_code: int | None = None,
        failures: Sequence[dict[str, Any]] = (),
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.exit_code = exit_code
        self.failures = list(failures)

    def __str__(self) -> str:
        said = [super().__str__()]
        for failure in self.failures[1:]:
            said.append(str(WfloError(_placed(failure), code=str(failure.get("code")), hint=failure.get("hint"))))
        return "\n".join(said)


class WorkflowInvalid(RunNotStarted):
    """The workflow itself was refused: no run came to be, and none will before it is corrected."""


def refused(failures: Sequence[dict[str, Any]], exit_code: int) -> RunNotStarted:
    """The exception for what `wflo` refused a run for; at least one failure."""
    first = failures[0]
    code = str(first.get("code"))
    # The command line's and the settings' codes are 8xxx; without a wflo code it is the file's own error.
    kind = WorkflowInvalid if exit_code == 2 and not code.startswith("WFLO-8") else RunNotStarted
    return kind(_placed(first), code=code, hint=first.get("hint"), exit_code=exit_code, failures=failures)


def _placed(failure: dict[str, Any]) -> str:
    place, message = failure.get("place"), str(failure.get("message"))
    return f"{place}: {message}" if place else message


class RunError(WfloError):
    """A run ended other than completed. `result` is the run as it stands."""

    def __init__(self, message: str, *, result: RunResult, code: str, hint: str | None = None) -> None:
        super().__init__(message, code=code, hint=hint)
        self.result = result


class RunFailed(RunError):
    """A step failed and no retry was left."""


class RunHalted(RunError):
    """A budget halted the run."""


class RunRejected(RunError):
    """An approval was rejected, or a policy denied the run."""


class RunCancelled(RunError):
    """Somebody cancelled the run."""


class RunTimedOut(RunError):
    """The run's time limit passed."""


class RunRolledBack(RunError):
    """The run was rolled back."""


class RunLeftWaiting(RunError):
    """The run waits for an approval, a timer or a signal; `wflo runs resume` continues it."""

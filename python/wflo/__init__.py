"""wflo: the secure runtime for AI agents. This is its Python SDK.

A workflow is a file with a `Workflow`, its steps are functions, and `wflo run` runs it:

    from wflo import Workflow

    workflow = Workflow("hello")
    workflow.set_budget(max_cost_usd=1.00)

    @workflow.step
    async def greet(context):
        answer = await context.llm.chat(model="gpt-5-mini", messages=[...], max_tokens=100)
        return answer.text
"""

from __future__ import annotations

from .approval import ApprovalGate, ApprovalPolicy
from .budget import CostLimit
from .errors import (
    ApprovalRejected,
    BudgetExceeded,
    DatabaseError,
    DefinitionError,
    EffectError,
    EffectTimeout,
    InputMissing,
    Interrupted,
    ModelError,
    NotAvailable,
    PolicyDenied,
    ReplayMismatch,
    RunCancelled,
    RunError,
    RunFailed,
    RunHalted,
    RunLeftWaiting,
    RunNotStarted,
    RunRejected,
    RunRolledBack,
    RunTimedOut,
    StepCancelled,
    StepError,
    ValueNotJson,
    ValueTooLarge,
    WfloError,
    WorkflowInvalid,
)
from .policy import CapBudget, Condition, Deny, Notify, Policy, RequireApproval, Route
from .result import RunResult
from .step import Backoff
from .workflow import Workflow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .context import Context, SyncContext
    from .context.tools import ToolFailed

__version__ = "0.1.0"

__all__ = [
    "ApprovalGate",
    "ApprovalPolicy",
    "ApprovalRejected",
    "Backoff",
    "BudgetExceeded",
    "CapBudget",
    "Condition",
    "Context",
    "CostLimit",
    "DatabaseError",
    "DefinitionError",
    "Deny",
    "EffectError",
    "EffectTimeout",
    "InputMissing",
    "Interrupted",
    "ModelError",
    "NotAvailable",
    "Notify",
    "Policy",
    "PolicyDenied",
    "ReplayMismatch",
    "RequireApproval",
    "Route",
    "RunCancelled",
    "RunError",
    "RunFailed",
    "RunHalted",
    "RunLeftWaiting",
    "RunNotStarted",
    "RunRejected",
    "RunResult",
    "RunRolledBack",
    "RunTimedOut",
    "StepCancelled",
    "StepError",
    "SyncContext",
    "ToolFailed",
    "ValueNotJson",
    "ValueTooLarge",
    "WfloError",
    "Workflow",
    "WorkflowInvalid",
]


def __getattr__(name: str) -> object:
    """The contexts, which only annotations need, are imported when they are asked for."""
    if name in ("Context", "SyncContext"):
        from . import context

        return getattr(context, name)
    if name == "ToolFailed":
        from .context.tools import ToolFailed

        return ToolFailed
    raise AttributeError(f"module 'wflo' has no attribute {name!r}")

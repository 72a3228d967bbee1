"""Uses that a type checker accepts: no error may be found here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypedDict

from wflo import (
    ApprovalGate,
    ApprovalPolicy,
    Backoff,
    Condition,
    Context,
    CostLimit,
    Notify,
    Policy,
    RequireApproval,
    SyncContext,
    Workflow,
)
from wflo.context.db import Executed

workflow = Workflow("right", version="1", inputs={"text": str, "n": {"type": "integer", "default": 3}})
workflow.set_budget(max_cost_usd=5.00, alert_thresholds=[0.5, 0.9], action_on_exceeded="halt")
workflow.set_budget(CostLimit("1.50", per="day", on_exceeded="ask"))
workflow.configure_sandbox(memory_limit="512m", cpu_limit=0.5, timeout_seconds=timedelta(minutes=5), backend="native")
workflow.add_policy(Policy("dear", Condition("estimated_cost > 1.0"), [RequireApproval(["ops"]), Notify("slack://x")]))


class Ticket(TypedDict):
    id: int
    text: str


@workflow.step
async def bare(context: Context) -> dict[str, list[int]]:
    return {"rows": [1, 2]}


@workflow.step(retries=2, retry_backoff=Backoff(0.5), timeout_seconds=60, depends_on=[bare])
async def with_options(context: Context) -> list[Ticket]:
    return [{"id": 1, "text": context.inputs["text"]}]


@workflow.step(approval=ApprovalPolicy(when="start"), effect_class="guarded", on_ambiguous="rerun")
def plain(context: SyncContext) -> tuple[str, float]:
    return "a", 0.5


@workflow.step
async def typed_dict(context: Context) -> Ticket:
    return {"id": 1, "text": "a"}


@workflow.step
async def a_result_of_wflos(context: Context) -> Executed:
    return await context.db.execute("DELETE FROM records")


@workflow.step(name="another", budget=CostLimit("0.25"))
async def optional(context: Context) -> str | None:
    return None


@workflow.step
async def anything(context: Any) -> Any:
    return await context.llm.chat(model="m", messages=[])


gate = workflow.add(ApprovalGate("sign_off", on_rejected="continue", on_timeout="hold", depends_on=[plain]))
workflow.step(depends_on=[gate, "bare"])(bare)


async def stays_callable(context: Context) -> int:
    return len((await bare(context))["rows"]) + len(await with_options(context))

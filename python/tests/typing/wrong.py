"""Uses that a type checker refuses. Behind each: what pyright says of it, and what mypy says, in part."""

from __future__ import annotations

from datetime import datetime

from wflo import ApprovalGate, ApprovalPolicy, Context, CostLimit, SyncContext, Workflow

workflow = Workflow("wrong")


@workflow.step(retires=2)  # says: "retires" | "retires"
async def an_unknown_option(context: Context) -> None: ...


@workflow.step(retries="2")  # says: "retries" | "retries"
async def a_wrong_type(context: Context) -> None: ...


@workflow.step(effect_class="guard")  # says: "effect_class" | "effect_class"
async def a_wrong_choice(context: Context) -> None: ...


@workflow.step(timeout_seconds="60")  # says: "timeout_seconds" | "timeout_seconds"
async def a_wrong_time(context: Context) -> None: ...


@workflow.step(depends_on=[3])  # says: "depends_on" | List item 0
async def a_wrong_dependency(context: Context) -> None: ...


@workflow.step("name")  # says: "function" | "StepOrDecorator" of "step"
async def an_option_without_its_name(context: Context) -> None: ...


@workflow.step  # says: incompatible with type "SyncContext" | [SyncContext], Coroutine
async def async_with_the_sync_context(context: SyncContext) -> None: ...


@workflow.step(retries=1)  # says: incompatible with type "Context" | [Context], None]
def sync_with_the_async_context(context: Context) -> None: ...


@workflow.step  # says: set[int] | set[int]
async def a_set(context: Context) -> set[int]:
    return {1}


@workflow.step(retries=1)  # says: "datetime" | datetime
def a_time(context: SyncContext) -> datetime:
    return datetime.now()


@workflow.step  # says: bytes] | bytes
async def bytes_of(context: Context) -> bytes:
    return b""


@workflow.step  # says: Extra parameter "other" | [Context, int]
async def two_arguments(context: Context, other: int) -> None: ...


workflow.set_budget(max_cost_usd=1, per="hours")  # says: "per" | "per"
workflow.set_budget(max_cost_usd=1, action_on_exceeded="stop")  # says: "action_on_exceeded" | "action_on_exceeded"
workflow.configure_sandbox(backend="chroot")  # says: "backend" | "backend"
workflow.configure_sandbox(memory=1)  # says: "memory" | "memory"
workflow.add(an_unknown_option)  # says: "gate" | "ApprovalGate"
ApprovalPolicy(when="never")  # says: "when" | "when"
ApprovalGate("g", on_timeout="wait")  # says: "on_timeout" | "on_timeout"
CostLimit(1, per="minute")  # says: "per" | "per"

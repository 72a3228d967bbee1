"""The workflow of the README, as a user writes it: a script with `await workflow.run(…)` at its end."""

import json

from model import MockModel
from project import Project

SAMPLE = """
from wflo import Workflow, ApprovalGate, ApprovalPolicy, CostLimit, Policy, Condition, RequireApproval, Notify

workflow = Workflow("data-processor")
workflow.set_budget(max_cost_usd=50.00, alert_thresholds=[0.5, 0.75, 0.9], action_on_exceeded="halt")
workflow.configure_sandbox(memory_limit="512m", cpu_limit="0.5", network_enabled=False, timeout_seconds=300)
workflow.add_policy(Policy(name="high_cost", condition=Condition("estimated_cost > 100"),
                           actions=[RequireApproval(approvers=["finance-team"]), Notify("slack://finance-channel")]))

@workflow.step(approval_required=True)
async def delete_old_records(context):
    await context.db.execute("DELETE FROM records WHERE age > 365")

@workflow.step(rollback_enabled=True, depends_on=["delete_old_records"], retries=2, timeout_seconds=60)
async def update_production_data(context):
    snapshot = await context.db.snapshot()
    try:
        await context.db.bulk_update("records", context.inputs["records"])
    except Exception:
        await context.db.restore(snapshot)
        raise

result = await workflow.run(inputs={"records": []}, sandbox=True, trace=True, notify="slack://prod")
"""
RECORDS = """
CREATE TABLE records (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INTEGER NOT NULL);
INSERT INTO records VALUES (1, 'ada', 10), (2, 'bob', 400), (3, 'cyd', 500);
"""
INPUTS = json.dumps({"records": [{"id": 1, "name": "Ada"}]})


def test_the_sample_asks_with_the_rows_and_then_runs(project: Project, model: MockModel) -> None:
    project.database(RECORDS)
    project.write("workflow.py", SAMPLE)
    project.write("inputs.json", INPUTS)
    running = project.start("run", "workflow.py", "--input-file", "inputs.json")
    asked = running.until("approval.requested")
    assert asked["step"] == "delete_old_records"
    assert "bob" in json.dumps(asked["evidence"]) and "ada" not in json.dumps(asked["evidence"])
    assert len(project.rows("SELECT * FROM records")) == 3
    done = project.call("approvals", "approve", asked["approval_id"], "--comment", "checked")
    assert done.code == 0, done
    ended = running.finish()
    assert ended.code == 0, ended
    assert project.rows("SELECT id, name FROM records") == [(1, "Ada")]


def test_the_sample_rejected_changes_nothing_and_ends_with_3(project: Project) -> None:
    project.database(RECORDS)
    project.write("workflow.py", SAMPLE)
    project.write("inputs.json", INPUTS)
    running = project.start("run", "workflow.py", "--input-file", "inputs.json")
    asked = running.until("approval.requested")
    project.call("approvals", "reject", asked["approval_id"], "--comment", "not today")
    ended = running.finish()
    assert ended.code == 3, ended
    assert (ended.run["status"], ended.run["error"]["code"]) == ("rejected", "WFLO-7003")
    assert len(project.rows("SELECT * FROM records")) == 3

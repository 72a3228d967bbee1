"""Support data, cared for by an agent that cannot do more than it may.

triage                   a small model labels and summarises a sample of tickets
delete_old_records       deletes what is older than `age` days, once a person has seen which rows
update_production_data   writes the labels back; the first try fails on purpose and is undone
report                   writes report.md, which reaches the project with `wflo apply`
"""

import asyncio
from decimal import Decimal

from triage import FALLBACK, LABEL_GRAMMAR, label_prompt, read_label, read_summary, summary_prompt
from wflo import ApprovalPolicy, Workflow

MODEL = "smollm2-135m"

workflow = Workflow(
    "data-processor",
    inputs={
        "age": {"type": "integer", "default": 365},  # days; what is older is deleted
        "sample": {"type": "integer", "default": 16},  # tickets for the model
        "fail_first_update": {"type": "boolean", "default": True},
    },
)
workflow.set_budget(max_cost_usd="0.01", alert_thresholds=[0.05, 0.5, 0.9], action_on_exceeded="halt")
workflow.configure_sandbox(memory_limit="512m", cpu_limit="0.5", network_enabled=False, timeout_seconds=300)


@workflow.step(depends_on=[], timeout_seconds=240)
async def triage(context):
    """Ask the model about the newest open tickets, two questions at a time."""
    sample = await context.db.query(
        "SELECT id, subject, body, queue FROM records WHERE status = 'open' ORDER BY age, id LIMIT ?",
        [context.inputs["sample"]],
    )
    tickets, cost = [], Decimal(0)
    for ticket in sample:
        label, summary = await asyncio.gather(
            context.llm.chat(
                model=MODEL,
                messages=label_prompt(ticket["subject"], ticket["body"]),
                max_tokens=6,
                temperature=0,
                grammar=LABEL_GRAMMAR,
            ),
            context.llm.chat(
                model=MODEL,
                messages=summary_prompt(ticket["subject"], ticket["body"]),
                max_tokens=32,
                temperature=0,
            ),
        )
        cost += label.cost_usd + summary.cost_usd
        tickets.append(
            {
                "id": ticket["id"],
                "subject": ticket["subject"],
                "queue": ticket["queue"],
                "label": read_label(label.text),
                "summary": read_summary(summary.text, ticket["subject"], 160),
            }
        )
    return {"tickets": tickets, "cost_usd": str(cost)}


@workflow.step(approval=ApprovalPolicy(required=True, approvers=["data-owner"]))
async def delete_old_records(context):
    """One statement. Whoever approves sees the rows that it deletes, and exactly those go."""
    result = await context.db.execute("DELETE FROM records WHERE age > ?", [context.inputs["age"]])
    return {"deleted": result.rows_affected}


@workflow.step(depends_on=["triage", "delete_old_records"], rollback_enabled=True, retries=1, retry_backoff=0.1)
async def update_production_data(context):
    """Write labels and summaries, look at what was written, and take it back if it is wrong."""
    tickets = context.outputs["triage"]["tickets"]
    rows = [{"id": t["id"], "label": t["label"], "summary": t["summary"]} for t in tickets]
    labelled = await context.db.query("SELECT count(*) FROM records WHERE label IS NOT NULL")

    if context.inputs["fail_first_update"] and context.attempt == 1:
        rows[-1]["label"] = "shiping"  # what a careless edit looks like

    snapshot = await context.db.snapshot()
    try:
        await context.db.bulk_update("records", rows)
        await refuse_unknown_labels(context)
    except Exception:
        await context.db.restore(snapshot)
        raise
    return {"updated": len(rows), "labelled_before": labelled.scalar(), "tries": context.attempt}


async def refuse_unknown_labels(context):
    """The check that production data must pass after each change."""
    setting = await context.db.query("SELECT value FROM settings WHERE name = 'labels'")
    known = {*setting.scalar().split(","), FALLBACK}
    written = await context.db.query("SELECT DISTINCT label FROM records WHERE label IS NOT NULL ORDER BY label")
    unknown = [row["label"] for row in written if row["label"] not in known]
    if unknown:
        raise ValueError(f"the labels {unknown} are not in settings; known are {sorted(known)}")


@workflow.step(depends_on=["triage", "delete_old_records", "update_production_data"])
async def report(context):
    """Write report.md into the workspace: a copy, until somebody applies it."""
    triaged, deleted, updated = (
        context.outputs[name] for name in ("triage", "delete_old_records", "update_production_data")
    )
    tickets = triaged["tickets"]
    statuses = await context.db.query("SELECT status, count(*) AS n FROM records GROUP BY status ORDER BY n DESC")
    same = sum(1 for t in tickets if t["label"] == t["queue"])
    unsorted = sum(1 for t in tickets if t["label"] == FALLBACK)
    age, records = context.inputs["age"], sum(row["n"] for row in statuses)
    by_status = ", ".join(f"{row['n']} {row['status']}" for row in statuses)
    lines = [
        "# Support report",
        "",
        f"- Records: {records} ({by_status})",
        f"- Deleted, as approved: {deleted['deleted']} records older than {age} days",
        f"- Labelled: {updated['updated']} records in try {updated['tries']}; before it {updated['labelled_before']}",
        f"- Read by {MODEL}: {len(tickets)} tickets for ${triaged['cost_usd']}",
        f"- Agreeing with the front desk: {same} labels; unreadable answers: {unsorted}",
        "",
        "| record | label | front desk | summary |",
        "|---|---|---|---|",
    ]
    for ticket in tickets:
        summary = ticket["summary"].replace("|", "/")
        lines.append(f"| {ticket['id']} | {ticket['label']} | {ticket['queue']} | {summary} |")
    (context.workspace / "report.md").write_text("\n".join(lines) + "\n")
    return {"report": "report.md", "records": records}

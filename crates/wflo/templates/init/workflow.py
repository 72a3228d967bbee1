"""Looks at old support tickets and closes them.

    wflo run                          # does it
    wflo run --require-approval       # shows the rows first and asks
    wflo run --input age=365          # only tickets older than a year
"""

from wflo import Workflow

workflow = Workflow("@NAME@", inputs={"age": {"type": int, "default": 90}})


@workflow.step()
async def read_tickets(context):
    """Reads. Reading asks nobody."""
    age = context.inputs["age"]
    return await context.db.query(
        "SELECT id, subject, body, age_days FROM tickets"
        " WHERE status = 'open' AND age_days > ? ORDER BY age_days DESC",
        [age],
    )

@SUMMARISE@
@workflow.step(rollback_enabled=True)
async def close_old_tickets(context):
    """Writes: the one step that --require-approval asks about."""
    age = context.inputs["age"]
    await context.db.execute(
        "UPDATE tickets SET status = 'closed' WHERE status = 'open' AND age_days > ?",
        [age],
    )

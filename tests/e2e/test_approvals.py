"""Approvals decided by another process, and what a waiting run is while it waits."""

import time

from model import MockModel
from project import Project, wait_for

RECORDS = """
CREATE TABLE records (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INTEGER NOT NULL);
INSERT INTO records VALUES (1, 'ada', 10), (2, 'bob', 400);
"""
DELETE = """
    @workflow.step(approval_required=True)
    async def delete(context):
        done = await context.db.execute("DELETE FROM records WHERE age > 365")
        return done.rows_affected
"""


def test_a_waiting_run_is_decided_after_its_process_has_gone(project: Project) -> None:
    project.database(RECORDS)
    project.steps(DELETE)
    running = project.start("run")
    asked = running.until("approval.requested")
    running.until("run.waiting")
    wait_for(lambda: project.processes() == [] or len(project.processes()) <= 2, "its sandbox is gone")
    running.kill()
    running.finish()
    listed = project.call("approvals", "list", "--json")
    assert asked["approval_id"] in listed.out, listed
    done = project.call("approvals", "approve", asked["approval_id"])
    assert done.code == 0, done
    run = project.show(asked["run_id"])
    assert (run["status"], run["outputs"]["delete"]) == ("completed", 1)
    assert project.rows("SELECT id FROM records") == [(1,)]


def test_rows_that_another_writer_changed_are_asked_about_again(project: Project) -> None:
    path = project.database(RECORDS)
    project.steps(DELETE)
    running = project.start("run")
    first = running.until("approval.requested")
    running.until("run.waiting")
    project.rows_change(path, "UPDATE records SET name = 'Bob' WHERE id = 2")
    project.call("approvals", "approve", first["approval_id"])
    second = running.until("approval.requested")
    assert second["approval_id"] != first["approval_id"]
    assert "Bob" in str(second["evidence"]) and len(project.rows("SELECT id FROM records")) == 2
    project.call("approvals", "approve", second["approval_id"])
    assert running.finish().code == 0
    assert project.rows("SELECT id FROM records") == [(1,)]


def test_an_approval_is_used_once(project: Project) -> None:
    project.database(RECORDS)
    project.steps(DELETE)
    running = project.start("run")
    asked = running.until("approval.requested")["approval_id"]
    assert project.call("approvals", "approve", asked).code == 0
    assert running.finish().code == 0
    again = project.call("approvals", "approve", asked)
    assert again.code != 0 and "WFLO-" in again.err, again


def test_changed_code_under_a_waiting_run_is_not_what_goes_on(project: Project) -> None:
    project.database(RECORDS)
    project.steps(DELETE)
    running = project.start("run")
    asked = running.until("approval.requested")
    running.until("run.waiting")
    running.kill()
    running.finish()
    project.steps(DELETE.replace("age > 365", "age > 0"))
    done = project.call("approvals", "approve", asked["approval_id"])
    assert done.code == 0, done
    assert project.rows("SELECT id FROM records") == [(1,)]


def test_a_gather_of_an_approval_and_a_model_call_pays_the_call_once(project: Project, model: MockModel) -> None:
    project.steps("""
        @workflow.step
        async def both(context):
            ask = [{"role": "user", "content": "while you wait"}]
            text, answer = await asyncio.gather(
                context.llm.chat(model="m", messages=ask, max_tokens=5),
                context.approve("Shall it?", details={"n": 1}),
            )
            return [text.text, answer.approved, answer.comment]
    """)
    running = project.start("run")
    asked = running.until("approval.requested")
    running.until("run.waiting")
    running.kill()
    running.finish()
    done = project.call("approvals", "approve", asked["approval_id"], "--comment", "it shall")
    assert done.code == 0, done
    run = project.show(asked["run_id"])
    assert run["outputs"]["both"] == ["You said: while you wait", True, "it shall"]
    assert model.asked() == {"while you wait": 1}


def test_a_gate_that_continues_tells_the_next_step(project: Project) -> None:
    project.steps("""
        workflow.add(ApprovalGate("sign_off", on_rejected="continue"))

        @workflow.step
        def after(context):
            return context.outputs["sign_off"]["approved"]
    """)
    running = project.start("run")
    asked = running.until("approval.requested")
    project.call("approvals", "reject", asked["approval_id"])
    done = running.finish()
    assert (done.code, done.run["outputs"]["after"]) == (0, False), done


def test_a_gate_that_nobody_answers_ends_as_it_says(project: Project) -> None:
    ends = {"reject": (3, "rejected"), "continue": (0, "completed")}
    for end, (code, status) in ends.items():
        more = ', on_rejected="continue"' if end == "continue" else ""
        project.steps(f"""
            workflow.add(ApprovalGate("sign_off", timeout_seconds=0.5, on_timeout="reject"{more}))

            @workflow.step
            def after(context):
                return context.outputs["sign_off"]["approved"]
        """)
        done = project.run()
        assert (done.code, done.run["status"]) == (code, status), done
        assert [event["expires_at"] is not None for event in done.of("approval.requested")] == [True]
        assert done.run["outputs"].get("after", False) is False


def test_latest_decides_only_where_nothing_else_waits(project: Project) -> None:
    project.database(RECORDS)
    project.steps("""
    @workflow.step(approval_required=True, depends_on=[])
    async def first(context):
        await context.db.execute("DELETE FROM records WHERE id = 1")

    @workflow.step(approval_required=True, depends_on=[])
    async def second(context):
        await context.db.execute("DELETE FROM records WHERE id = 2")
    """)
    running = project.start("run")
    asked = [running.until("approval.requested")["approval_id"] for _ in range(2)]
    running.until("run.waiting")
    refused = project.call("approvals", "approve", "latest")
    assert refused.code == 2 and "WFLO-8020" in refused.err, refused
    assert all(approval in refused.err for approval in asked), refused
    assert project.call("approvals", "approve", asked[0]).code == 0
    running.until("run.waiting")
    assert project.call("approvals", "reject", "latest").code == 0
    assert running.finish().code == 3


def test_the_latest_is_decided_only_where_it_is_the_one_that_was_read(project: Project) -> None:
    project.steps("""
        workflow.add(ApprovalGate("first", message="The first?"))
        workflow.add(ApprovalGate("second", message="The second?"))
    """)
    running = project.start("run")
    first = running.until("approval.requested")["approval_id"]
    refused = project.call_unread("approvals", "approve", "latest")
    assert refused.code == 2 and "WFLO-8020" in refused.err, refused
    assert f"wflo approvals show {first}" in refused.err and "The first?" in refused.err, refused
    assert "The first?" in project.call_unread("approvals", "show", "latest").out
    # What was read is not what waits by now.
    assert project.call_unread("approvals", "approve", first).code == 0
    second = running.until("approval.requested")["approval_id"]
    refused = project.call_unread("approvals", "approve", "latest")
    assert refused.code == 2 and second in refused.err and "The second?" in refused.err, refused
    # A list of titles shows nobody what would happen.
    project.call_unread("approvals", "list")
    assert project.call_unread("approvals", "reject", "latest").code == 2
    assert project.call_unread("approvals", "show", "latest", "--json").code == 0
    assert project.call_unread("approvals", "approve", "latest").code == 0
    assert running.finish().code == 0


def test_an_answer_after_the_time_of_its_question_counts_as_none(project: Project) -> None:
    project.steps("""
        workflow.add(ApprovalGate("sign_off", timeout_seconds=1, on_timeout="reject"))

        @workflow.step
        def after(context):
            return "it went on"
    """)
    left = project.run("--no-wait")
    assert left.code == 75, left
    asked = left.of("approval.requested")[0]["approval_id"]
    wait_for(lambda: "expired" in project.call("approvals", "list").out, "its time is up")
    for which in (asked, "latest"):
        late = project.call("approvals", "approve", which)
        assert late.code != 0 and "WFLO-7001" in late.err and "could be decided until" in late.err, late
        assert f"wflo runs resume {left.run['id']}" in late.err, late
    shown = project.call("approvals", "show", asked)
    assert "expired" in shown.out and "pending" not in shown.out, shown
    ended = project.call("runs", "resume", left.run["id"], "--json")
    assert (ended.code, ended.run["status"]) == (3, "rejected"), ended
    assert [event["by"] for event in ended.of("approval.decided")] == ["timeout"]


def test_an_answer_in_time_counts_however_late_it_is_taken_up(project: Project) -> None:
    project.steps("""
        workflow.add(ApprovalGate("sign_off", timeout_seconds=4, on_timeout="reject"))

        @workflow.step
        def after(context):
            return "it went on"
    """)
    left = project.run("--no-wait")
    asked = left.of("approval.requested")[0]["approval_id"]
    given = project.call("approvals", "approve", asked, "--no-drive")
    assert given.code == 0, given
    assert "approved, not taken up" in project.call("runs", "show", left.run["id"]).out
    time.sleep(5)
    ended = project.call("runs", "resume", left.run["id"], "--json")
    assert (ended.code, ended.run["outputs"]["after"]) == (0, "it went on"), ended

"""`wflo runs retry`: what a new run keeps of an old one, when the code has been mended in between."""

import json
from pathlib import Path

from model import MockModel
from project import Project

STEPS = """
    @workflow.step
    async def raise_prices(context):
        await context.db.execute("UPDATE prices SET amount = amount * 1.1")

    @workflow.step
    async def ask(context):
        said = [{"role": "user", "content": "once"}]
        return (await context.llm.chat(model="m", messages=said, max_tokens=5)).text

    @workflow.step
    def report(context):
        %s
        return context.outputs["ask"]
"""


def prices(project: Project) -> None:
    project.database("CREATE TABLE prices (id INTEGER PRIMARY KEY, amount REAL); INSERT INTO prices VALUES (1, 100)")


def failed(project: Project) -> None:
    project.steps(STEPS % "raise ValueError('oops')")
    done = project.run()
    assert done.code == 1 and done.run, done


def amount(project: Project) -> float:
    return round(project.rows("SELECT amount FROM prices")[0][0], 6)


def test_finished_steps_are_kept_when_the_failed_one_is_mended(project: Project, model: MockModel) -> None:
    prices(project)
    failed(project)
    project.steps(STEPS % "pass")
    again = project.call("runs", "retry", "latest")
    assert again.code == 0, again
    assert "Kept, and not run again: `raise_prices`, `ask`." in again.err, again
    assert "--from ask" in again.err, "how to run one again all the same"
    assert amount(project) == 110.0, "no write was made twice"
    assert model.asked() == {"once": 1}, "and nothing was paid twice"
    shown = project.call("runs", "show", "latest", "--json").out
    assert "You said: once" in shown


def test_a_named_step_runs_again_with_what_depends_on_it(project: Project, model: MockModel) -> None:
    prices(project)
    failed(project)
    project.steps(STEPS % "pass")
    again = project.call("runs", "retry", "latest", "--from", "ask")
    assert again.code == 0, again
    assert "Kept, and not run again: `raise_prices`." in again.err
    assert "Had finished and is run again: `ask`." in again.err
    assert amount(project) == 110.0
    assert model.asked() == {"once": 2}


def test_a_committed_write_is_never_made_again(project: Project) -> None:
    prices(project)
    failed(project)
    project.steps(STEPS % "pass")
    refused = project.call("runs", "retry", "latest", "--from", "raise_prices")
    assert refused.code == 1, refused
    assert "WFLO-3006" in refused.err and "`raise_prices`" in refused.err
    assert amount(project) == 110.0


def test_a_step_that_is_not_there_is_named(project: Project) -> None:
    prices(project)
    failed(project)
    refused = project.call("runs", "retry", "latest", "--from", "rise_prices")
    assert "WFLO-3019" in refused.err and "raise_prices, ask, report" in refused.err, refused


def test_a_gate_asks_again_about_other_code(project: Project) -> None:
    gate = """
        workflow.add(ApprovalGate("go"))

        @workflow.step
        def work(context):
            %s
    """
    project.steps(gate % "raise ValueError('oops')")
    asked = project.start("run")
    asked.until("approval.requested")
    assert project.call("approvals", "approve", "latest").code == 0
    assert asked.finish().code == 1
    same = project.call("runs", "retry", "latest")
    assert same.code == 1 and "`go`" in same.err, "with the same code the answer stands"
    project.steps(gate % "return 1")
    mended = project.start("runs", "retry", "latest")
    assert "run again although they had finished: go" in mended.until("run.notice")["message"]
    mended.until("approval.requested")
    assert project.call("approvals", "approve", "latest").code == 0
    assert mended.finish().code == 0


def test_an_answered_gate_that_the_code_dropped_is_not_said_to_run_again(project: Project) -> None:
    project.steps("""
        workflow.add(ApprovalGate("go"))

        @workflow.step
        def work(context):
            raise ValueError("oops")
    """)
    asked = project.start("run")
    asked.until("approval.requested")
    assert project.call("approvals", "approve", "latest").code == 0
    assert asked.finish().code == 1
    project.steps("""
        @workflow.step
        def work(context):
            return 1
    """)
    mended = project.call("runs", "retry", "latest", "--json")
    assert mended.code == 0, mended
    assert not [e for e in mended.of("run.notice") if "go" in e["message"]], mended


CHAIN = """
    @workflow.step
    async def a(context):
        return 1

    @workflow.step
    async def {b}(context):
        {write}
        return {value}

    @workflow.step
    async def c(context):
        {write}
        return sum(v for v in context.outputs.values() if v)
"""


def test_what_comes_after_a_new_step_runs_again(project: Project) -> None:
    project.steps(CHAIN.format(b="b", value=10, write="pass"))
    assert project.run().run["outputs"]["c"] == 11
    project.steps(CHAIN.format(b="bb", value=20, write="pass"))
    again = project.call("runs", "retry", "latest")
    assert again.code == 0, again
    assert "Kept, and not run again: `a`." in again.err, again
    assert "Had finished and is run again: `c` (because `bb` is new)." in again.err, again
    shown = json.loads(project.call("runs", "show", "latest", "--json").out)
    assert shown["outputs"] == {"a": 1, "bb": 20, "c": 21}


def test_what_came_after_a_step_that_is_gone_runs_again(project: Project) -> None:
    project.steps(CHAIN.format(b="b", value=10, write="pass"))
    assert project.run().code == 0
    shorter = CHAIN.format(b="b", value=10, write="pass")
    project.steps(
        shorter[: shorter.index("    @workflow.step\n    async def b")]
        + shorter[shorter.rindex("    @workflow.step") :]
    )
    again = project.call("runs", "retry", "latest", "--json")
    assert again.code == 0 and again.run["outputs"] == {"a": 1, "c": 1}, again
    assert "c (because `b` is gone)" in again.of("run.notice")[0]["message"], again


def test_what_would_run_again_and_has_written_is_refused_by_name(project: Project) -> None:
    prices(project)
    write = 'await context.db.execute("UPDATE prices SET amount = amount + 1")'
    project.steps(CHAIN.format(b="b", value=10, write=write))
    assert project.run().code == 0
    project.steps(CHAIN.format(b="bb", value=10, write=write))
    refused = project.call("runs", "retry", "latest")
    assert refused.code == 1 and "WFLO-3006" in refused.err, refused
    assert "`c` runs again because `bb` is new" in refused.err, refused
    assert amount(project) == 102.0


def test_a_gate_that_asks_again_keeps_what_is_still_to_run_waiting(project: Project) -> None:
    code = """
        workflow.add(ApprovalGate("go"))

        @workflow.step
        async def write(context):
            await context.db.execute("UPDATE prices SET amount = amount + 1")

        @workflow.step
        def last(context):
            %s
    """
    prices(project)
    project.steps(code % "raise ValueError('oops')")
    asked = project.start("run")
    asked.until("approval.requested")
    assert project.call("approvals", "approve", "latest").code == 0
    assert asked.finish().code == 1
    project.steps(code % "return 1")
    mended = project.start("runs", "retry", "latest")
    mended.until("run.waiting")
    assert not [event for event in mended.seen if event["type"] == "step.started"], "nothing passes the gate"
    assert project.call("approvals", "approve", "latest").code == 0
    assert mended.finish().code == 0
    assert amount(project) == 101.0, "and what was written behind it stays"


def test_a_write_whose_undo_did_not_come_through_is_not_made_again(project: Project) -> None:
    path = project.database("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER); INSERT INTO t VALUES (1, 100)")
    project.steps("""
        @workflow.step(rollback_enabled=True)
        async def debit(context):
            await context.db.execute("UPDATE t SET v = v - 10 WHERE id = 1")
            await context.approve("go on?")
            raise ValueError("the check after it")
    """)
    running = project.start("run")
    asked = running.until("approval.requested")
    running.until("run.waiting")
    project.rows_change(path, "UPDATE t SET v = 777 WHERE id = 1")
    project.call("approvals", "approve", asked["approval_id"])
    done = running.finish()
    assert done.code == 1 and "undo was not done" in done.run["steps"][0]["error"]["message"], done
    refused = project.call("runs", "retry", "latest")
    assert refused.code == 1 and "WFLO-3006" in refused.err, refused
    assert project.rows("SELECT v FROM t") == [(777,)]


NOTES = """
    @workflow.step
    def one(context):
        with open("notes.txt", "a") as notes:
            notes.write("agent line\\n")

    @workflow.step
    def two(context):
        %s
"""
OOPS, MENDED = "raise ValueError('oops')", "open('seen.txt', 'w').write(open('notes.txt').read())"


def edited_in_between(project: Project) -> tuple[Path, str]:
    """A retried run with a file that step one wrote and the user has edited since; the file, and the first run."""
    notes = project.write("notes.txt", "l1\n")
    project.steps(NOTES % OOPS)
    first = project.run()
    assert first.code == 1, first
    notes.write_text("l1\nUSER WORK\n")
    project.steps(NOTES % MENDED)
    again = project.start("runs", "retry", "latest")
    said = again.until("run.notice", notice="workspace.outdated")["message"]
    assert "step one made its files before these were changed in the project: notes.txt" in said, said
    assert again.finish().code == 0
    return notes, str(first.run["id"])


def test_what_was_edited_before_a_retry_is_not_lost_to_an_apply(project: Project) -> None:
    notes, first = edited_in_between(project)
    refused = project.call("apply", "latest")
    assert refused.code == 1 and "WFLO-5111" in refused.err and "notes.txt" in refused.err, refused
    assert "the run that this one retries" in refused.err, refused
    assert notes.read_text() == "l1\nUSER WORK\n"
    assert not (project.folder / "seen.txt").exists(), "nothing at all is written"
    shown = project.call("diff", "latest", "notes.txt").out
    assert "+agent line" in shown and "USER WORK" not in shown, shown
    # The same for what a retry of it takes over, and when the run applies by itself.
    assert project.call("runs", "retry", "latest", "--from", "two").code == 0
    assert "WFLO-5111" in project.call("apply", "latest").err
    # The step that wrote it can be run again, on what the project has now.
    anew = project.call("runs", "retry", first, "--from", "one")
    assert anew.code == 0 and "workspace.outdated" not in anew.err, anew
    assert project.call("apply", "latest").code == 0
    assert notes.read_text() == "l1\nUSER WORK\nagent line\n"


def test_what_a_retry_was_made_on_outlives_the_run_that_it_retries(project: Project) -> None:
    notes, first = edited_in_between(project)
    pruned = project.call("runs", "prune", "--keep", "1", "--discard-changes", "--yes")
    assert pruned.code == 0, pruned
    assert project.call("runs", "show", first).code == 1, "it is gone, with what only it held"
    refused = project.call("apply", "latest")
    assert refused.code == 1 and "WFLO-5111" in refused.err, refused
    assert notes.read_text() == "l1\nUSER WORK\n"
    # Who says so gets the run's version.
    assert project.call("apply", "latest", "--force", "notes.txt").code == 0
    assert notes.read_text() == "l1\nagent line\n"

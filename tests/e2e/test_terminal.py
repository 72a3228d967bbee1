"""A person at a terminal: the same tree, the same questions and the same ends, whichever command drives the run."""

import os
import re
import time

from model import MockModel
from project import DEADLINE, Project
from terminal import Terminal, left_waiting

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
GATES = """
    workflow.add(ApprovalGate("first", message="The first?"))
    workflow.add(ApprovalGate("second", message="The second?"))
"""
ASK = "Approve? [y/n]"


def waiting_write(project: Project, *arguments: str) -> str:
    project.database(RECORDS)
    project.steps(DELETE)
    return left_waiting(project, *arguments)


def test_resume_shows_the_tree_and_asks_like_run(project: Project) -> None:
    run = waiting_write(project)
    with Terminal(project, "runs", "resume", run) as screen:
        screen.until(ASK)
        assert "DELETE FROM records" in screen.text and "bob" in screen.text, screen.text
        screen.type("y")
        screen.until("Comment?")
        screen.type("bob may go")
        assert screen.end() == 0, screen.text
        assert "✓ delete" in screen.text and "completed in" in screen.text, screen.text
    assert project.rows("SELECT id FROM records") == [(1,)]
    assert "bob may go" in str(project.show(run)["outputs"]) or "bob may go" in str(project.events(run))


def test_a_no_at_the_terminal_ends_a_resumed_run_with_3(project: Project) -> None:
    run = waiting_write(project)
    with Terminal(project, "runs", "resume", run) as screen:
        screen.until(ASK)
        screen.type("n")
        screen.until("Comment?")
        screen.type("not bob")
        assert screen.end() == 3, screen.text
        assert "not bob" in screen.text, screen.text
    assert len(project.rows("SELECT id FROM records")) == 2


def test_ctrl_c_leaves_a_resumed_run_that_can_be_resumed_again(project: Project) -> None:
    run = waiting_write(project)
    with Terminal(project, "runs", "resume", run) as screen:
        screen.until(ASK)
        screen.interrupt()
        assert screen.end() == 75, screen.text
        assert f"wflo runs resume {run}" in screen.text, screen.text
    done = project.call("approvals", "approve", "latest")
    assert done.code == 0, done


def test_an_approval_from_elsewhere_takes_the_question_away(project: Project) -> None:
    project.steps(GATES)
    with Terminal(project, "run") as screen:
        screen.until(ASK)
        assert project.call("approvals", "approve", "latest").code == 0
        screen.until("The second?")
        screen.until(ASK, times=2)
        # Meant for the question before it, by whoever was about to answer that one.
        screen.type("y")
        screen.until("not counted")
        assert "Comment?" not in screen.text, screen.text
        deadline = time.monotonic() + DEADLINE
        while "Comment?" not in screen.text:
            assert time.monotonic() < deadline, screen.text
            asked = screen.text.count(ASK)
            screen.type("y")
            screen.until_any("Comment?", (ASK, asked + 1))
        screen.type("")
        assert screen.end() == 0, screen.text
        assert "2 approved" in screen.text, screen.text


def test_no_to_the_latest_that_nobody_has_read_decides_nothing(project: Project) -> None:
    project.steps(GATES)
    left_waiting(project)
    with Terminal(project, "-q", "approvals", "approve", "latest") as screen:
        screen.until("Approve it? [y/N]")
        assert "The first?" in screen.text, screen.text
        screen.type("")
        assert screen.end() == 1, screen.text
        assert "Nothing was decided" in screen.text, screen.text
    assert [asked["status"] for asked in project.call("approvals", "list", "--json").events] == ["pending"]


def test_approve_on_a_terminal_asks_what_comes_next_right_there(project: Project) -> None:
    project.steps(GATES)
    left_waiting(project)
    with Terminal(project, "approvals", "approve", "latest") as screen:
        # Nobody has read it here.
        screen.until("Approve it? [y/N]")
        assert "The first?" in screen.text, screen.text
        screen.type("y")
        screen.until("The second?")
        screen.until(ASK)
        assert screen.text.count(ASK) == 1, f"what was just decided is not asked about:\n{screen.text}"
        screen.type("y")
        screen.until("Comment?")
        screen.type("")
        assert screen.end() == 0, screen.text


def test_approve_off_a_terminal_leaves_at_the_next_question(project: Project) -> None:
    project.steps(GATES)
    left_waiting(project)
    done = project.call("approvals", "approve", "latest")
    assert done.code == 75 and "wflo approvals approve" in done.err, done
    assert project.call("approvals", "approve", "latest").code == 0


def test_a_budget_is_raised_at_the_terminal_of_whoever_resumes(project: Project, model: MockModel) -> None:
    project.write_settings('\n[budget]\nmax_cost_usd = "0.0001"\naction_on_exceeded = "ask"\n')
    project.steps("""
        @workflow.step
        async def ask(context):
            messages = [{"role": "user", "content": "dear"}]
            return (await context.llm.chat(model="m", max_tokens=5, messages=messages)).text
    """)
    run = left_waiting(project)
    with Terminal(project, "runs", "resume", run) as screen:
        screen.until(ASK)
        assert "missing" in screen.text, screen.text
        screen.type("y")
        screen.until("How many USD more?")
        screen.type("1")
        screen.until("Comment?")
        screen.type("")
        assert screen.end() == 0, screen.text
    assert model.asked() == {"dear": 1}


def test_a_retried_run_asks_as_well(project: Project) -> None:
    run = waiting_write(project)
    assert project.call("runs", "cancel", run).code == 0
    with Terminal(project, "runs", "retry", run) as screen:
        screen.until(ASK)
        screen.type("y")
        screen.until("Comment?")
        screen.type("")
        assert screen.end() == 0, screen.text
    assert project.rows("SELECT id FROM records") == [(1,)]


def test_nothing_is_wider_than_a_narrow_terminal_and_no_colour_means_none(project: Project) -> None:
    project.steps("""
        @workflow.step
        def a_step_with_a_name_that_is_longer_than_the_screen(context):
            return "x" * 200
    """)
    with Terminal(project, "run", columns=40, NO_COLOR="1") as screen:
        assert screen.end() == 0, screen.text
        assert not re.search(rb"\x1b\[[0-9;]*[1-9][0-9;]*m", screen.raw), screen.raw
    with Terminal(project, "runs", "list", columns=70) as screen:
        assert screen.end() == 0
        assert all(len(line) <= 70 for line in screen.text.splitlines()), screen.text


def test_quiet_on_a_terminal_still_asks(project: Project) -> None:
    project.steps(GATES)
    with Terminal(project, "run", "-q") as screen:
        for times in (1, 2):
            screen.until(ASK, times=times)
            screen.type("y")
            screen.until("Comment?", times=times)
            screen.type("")
        assert screen.end() == 0, screen.text
        assert "completed in" not in screen.text, screen.text


def test_a_terminal_that_goes_away_leaves_the_run(project: Project) -> None:
    project.steps(GATES)
    with Terminal(project, "run") as screen:
        screen.until(ASK)
        os.kill(screen.process.pid, 1)
        screen.end()
    assert project.call("approvals", "approve", "latest").code == 75
    assert project.call("approvals", "approve", "latest").code == 0


def test_a_narrow_terminal_shows_ids_that_every_command_takes(project: Project) -> None:
    project.steps("""
        @workflow.step
        def work(context):
            pass
    """)
    runs = [project.run().run["id"] for _ in range(2)]
    with Terminal(project, "runs", "list", columns=60) as screen:
        assert screen.end() == 0
    lines = screen.text.splitlines()
    assert "COST" in lines[0] and "AGE" in lines[0], screen.text
    assert all(len(line) <= 60 for line in lines), screen.text
    briefs = [line.split()[0] for line in lines if line.startswith("run_")]
    assert all(len(brief) < len(run) for brief, run in zip(briefs, reversed(runs), strict=True)), screen.text
    assert [project.show(brief)["id"] for brief in briefs] == runs[::-1]
    assert "PROCESS" not in screen.text, "nothing drives them"
    for command in (("costs", "report"), ("approvals", "list", "--all")):
        with Terminal(project, *command, columns=60, NO_COLOR="1") as screen:
            assert screen.end() == 0
        assert all(len(line) <= 60 for line in screen.text.splitlines()), screen.text
        assert b"\x1b[" not in screen.raw.replace(b"\x1b[?", b""), screen.raw


def test_what_is_asked_before_an_apply_is_shown_also_when_quiet(project: Project) -> None:
    hidden = "x = 1\\n" + "\\n" * 2000 + "y = 2" + " " * 3000 + "; payload()  # \\U000e0041\\u200b\\n"
    project.steps(f"""
        @workflow.step
        def write(context):
            open("conftest.py", "w").write("{hidden}")
    """)
    assert project.run().code == 0
    with Terminal(project, "-q", "apply", "latest", rows=200, columns=200) as screen:
        screen.until("Apply it? [y/N]")
        shown = screen.text
        assert "conftest.py" in shown and "payload()" in shown, shown
        assert "⟨2000 empty lines⟩" in shown and "⟨3000 blanks⟩" in shown, shown
        assert r"\u{e0041}\u{200b}" in shown and "\u200b" not in shown, shown
        screen.type("n")
        assert screen.end() != 0, screen.text
    assert not (project.folder / "conftest.py").exists()

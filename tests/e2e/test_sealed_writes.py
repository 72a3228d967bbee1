"""Writes that no changeset holds: what the question shows is what happens, or nothing does."""

import sqlite3
from contextlib import closing
from pathlib import Path

import disk
import pytest
from project import Project, approve, question, wait_for

TICKETS = """
CREATE TABLE tickets (id INTEGER PRIMARY KEY, owner TEXT, subject TEXT);
INSERT INTO tickets VALUES (1, 'me', 'a'), (2, 'me', 'b'), (3, 'you', 'c');
"""
INDEXED = (
    TICKETS
    + """
CREATE VIRTUAL TABLE zz USING fts5(x);
CREATE TRIGGER zt AFTER UPDATE ON tickets BEGIN INSERT INTO zz VALUES (new.subject); END;
"""
)
ALL = "SELECT id, owner, subject FROM tickets ORDER BY id"


def test_a_step_cannot_blind_the_question_of_another(project: Project) -> None:
    project.database(TICKETS)
    project.steps("""
        @workflow.step()
        async def prepare(context):
            await context.db.execute("CREATE VIRTUAL TABLE IF NOT EXISTS zz USING fts5(x)")
            await context.db.execute(
                "CREATE TRIGGER zt AFTER UPDATE ON tickets BEGIN INSERT INTO zz VALUES('x'); END"
            )

        @workflow.step(approval_required=True)
        async def guarded(context):
            await context.db.update("tickets", [{"id": i, "subject": "PWNED"} for i in (1, 2, 3)])
    """)
    running = project.start("run")
    asked = question(running)
    change = asked["evidence"]["change"]
    assert change["tables"]["tickets"]["updated"] == 3
    assert [row["after"]["subject"] for row in change["changes"]] == ["PWNED"] * 3
    shown = project.call("approvals", "show", asked["approval_id"])
    assert "tickets: 3 changed" in shown.out and "PWNED" in shown.out, shown
    assert "would change" not in shown.out and "run again" in shown.out, shown
    approve(project, asked)
    done = running.finish()
    assert done.code == 0, done
    assert project.rows("SELECT count(*) FROM tickets WHERE subject = 'PWNED'") == [(3,)]


def test_a_row_of_another_writer_is_asked_about_anew(project: Project) -> None:
    path = project.database(INDEXED)
    project.steps("""
        @workflow.step
        async def close(context):
            done = await context.db.execute("UPDATE tickets SET subject = 'closed' WHERE owner = 'me'")
            return done.rows_affected
    """)
    running = project.start("run", "--require-approval")
    first = question(running)
    project.rows_change(path, "INSERT INTO tickets VALUES (4, 'me', 'theirs')")
    before = project.rows(ALL)
    approve(project, first)
    second = question(running)
    assert project.rows(ALL) == before, "nothing of the first question is made"
    detail = second["evidence"]["changed_since"][0]["detail"]
    assert "rows of `tickets`" in detail and second["evidence"]["change"]["tables"]["tickets"]["updated"] == 3
    approve(project, second)
    done = running.finish()
    assert (done.code, done.run["outputs"]["close"]) == (0, 3), done
    assert [subject for (_, owner, subject) in project.rows(ALL) if owner == "me"] == ["closed"] * 3
    assert len(done.of("approval.superseded")) == 1 and len(done.of("approval.consumed")) == 1


def test_a_write_that_never_comes_out_the_same_fails_the_step(project: Project) -> None:
    project.database(INDEXED)
    project.steps("""
        @workflow.step
        async def draw(context):
            await context.db.execute("UPDATE tickets SET subject = hex(randomblob(8)) WHERE id = 1")
    """)
    running = project.start("run", "--require-approval")
    for _ in range(3):
        approve(project, question(running))
    done = running.finish()
    assert (done.code, done.run["error"]["code"]) == (1, "WFLO-7004"), done
    assert project.rows(ALL)[0] == (1, "me", "a")


def test_definitions_are_questions_of_their_own(project: Project) -> None:
    project.database(TICKETS)
    other = project.database("CREATE TABLE notes (id INTEGER PRIMARY KEY)", "notes.db", "notes")
    project.steps("""
        @workflow.step
        async def mixed(context):
            await context.db.execute("UPDATE tickets SET subject = 'x' WHERE id = 1")
            await context.db["notes"].execute("CREATE TABLE more (n INTEGER PRIMARY KEY)")
            await context.db["notes"].execute("INSERT INTO more VALUES (1)")
            await context.db.execute("CREATE TABLE IF NOT EXISTS tickets (id)")
            await context.db["notes"].execute("INSERT INTO more VALUES (2)")
    """)
    running = project.start("run", "--require-approval")
    approve(project, question(running))
    asked = question(running)
    assert asked["evidence"]["database"] == "notes" and asked["evidence"]["previewed"]
    assert asked["evidence"]["change"]["definitions"][0]["name"] == "more"
    project.rows_change(other, "CREATE TABLE theirs (n)")
    approve(project, asked)
    again = question(running)
    assert "definitions" in again["evidence"]["changed_since"][0]["detail"]
    approve(project, again)
    # The insert and the one after it are one question or two: what changes nothing in between asks nothing.
    asked = question(running)
    assert asked["evidence"]["statement"] == "INSERT INTO more VALUES (1)"
    approve(project, asked)
    asked = question(running)
    assert asked["evidence"]["statement"] == "INSERT INTO more VALUES (2)"
    approve(project, asked)
    assert running.finish().code == 0
    with closing(sqlite3.connect(other)) as notes:
        assert notes.execute("SELECT n FROM more").fetchall() == [(1,), (2,)]


def test_writes_that_change_nothing_ask_nobody(project: Project) -> None:
    project.database(INDEXED)
    project.steps("""
        @workflow.step
        async def nothing(context):
            done = await context.db.execute("DELETE FROM tickets WHERE owner = 'nobody'")
            await context.emit("looked", {})
            await context.db.execute("UPDATE tickets SET subject = 'x' WHERE id > 100")
            await context.db.execute("CREATE TABLE IF NOT EXISTS tickets (id)")
            return done.rows_affected

        @workflow.step(approval_required=True)
        async def asks_always(context):
            await context.db.execute("DELETE FROM tickets WHERE owner = 'nobody'")
            return "looked"
    """)
    running = project.start("run", "--require-approval")
    asked = question(running)
    assert (asked["purpose"], asked["step"]) == ("output", "asks_always")
    approve(project, asked)
    done = running.finish()
    assert (done.code, done.run["outputs"]["nothing"]) == (0, 0), done
    assert len(done.of("approval.requested")) == 1
    assert len(done.of("effect.finished", kind="db")) == 4
    assert len(project.rows(ALL)) == 3


def test_what_cannot_be_compared_is_refused_unless_the_operator_allows_it(project: Project) -> None:
    rows = ", ".join(f"(NULL, {n})" for n in range(20_001))
    project.database(f"CREATE TABLE np (k TEXT PRIMARY KEY, v INTEGER); INSERT INTO np VALUES {rows}")
    project.steps("""
        @workflow.step
        async def clear(context):
            await context.db.execute("UPDATE np SET v = 0 WHERE v < 5")
    """)
    done = project.run("--require-approval")
    assert (done.code, done.run["error"]["code"]) == (1, "WFLO-6030"), done
    assert done.of("approval.requested") == []
    project.settings = project.settings.replace("[databases.main]\n", "[databases.main]\nallow_unseen = true\n")
    assert "allow_unseen" in project.settings
    project.write_settings()
    running = project.start("run", "--require-approval")
    asked = question(running)
    assert asked["evidence"]["previewed"] is False and "np" in asked["evidence"]["unseen"]
    shown = project.call("approvals", "show", asked["approval_id"])
    assert "NOT ALL IS SHOWN" in shown.out and "would change" not in shown.out, shown
    approve(project, asked)
    assert running.finish().code == 0
    assert project.rows("SELECT count(*) FROM np WHERE v = 0") == [(5,)]


@pytest.mark.usefixtures("failpoints")
@pytest.mark.parametrize(
    "place", ["sealed.commit.before", "sealed.commit.after", "effect.finish.before", "effect.finish.after"]
)
def test_a_kill_at_any_boundary_does_a_sealed_write_once(project: Project, place: str) -> None:
    project.database(INDEXED)
    project.steps("""
        @workflow.step
        async def close(context):
            await context.db.execute("UPDATE tickets SET subject = subject || '!' WHERE owner = 'me'")
    """)
    killed = project.start("run", "--require-approval", WFLO_FAILPOINT=place)
    asked = question(killed)
    project.call("approvals", "approve", asked["approval_id"])
    assert killed.process.wait(60) == -9
    done = project.call("runs", "resume", asked["run_id"], "--json")
    assert done.code == 0, done
    assert [subject for (_, _, subject) in project.rows(ALL)] == ["a!", "b!", "c"]
    assert project.rows("SELECT count(*) FROM zz") == [(2,)]


@pytest.mark.usefixtures("failpoints")
@pytest.mark.parametrize("place", ["db.apply.after", "sealed.commit.after"])
def test_a_table_is_made_once_when_its_answer_is_lost(project: Project, place: str) -> None:
    project.database(TICKETS)
    project.steps("""
        @workflow.step
        async def make(context):
            await context.db.execute("CREATE TABLE made (n INTEGER PRIMARY KEY)")
            return "made"
    """)
    options = ["--require-approval"] if place.startswith("sealed") else []
    killed = project.start("run", *options, WFLO_FAILPOINT=place)
    run = killed.until("run.started")["run_id"]
    if options:
        project.call("approvals", "approve", question(killed)["approval_id"])
    while killed.next() is not None:
        pass
    assert killed.process.wait(60) == -9
    assert project.rows("SELECT count(*) FROM made") == [(0,)]
    done = project.call("runs", "resume", run, "--json")
    assert (done.code, project.show(run)["outputs"]["make"]) == (0, "made"), done


@pytest.mark.usefixtures("failpoints")
def test_a_kill_after_a_seal_did_not_hold_asks_anew(project: Project) -> None:
    path = project.database(INDEXED)
    project.steps("""
        @workflow.step
        async def close(context):
            await context.db.execute("UPDATE tickets SET subject = subject || '!' WHERE owner = 'me'")
    """)
    killed = project.start("run", "--require-approval", WFLO_FAILPOINT="sealed.superseded")
    asked = question(killed)
    project.rows_change(path, "INSERT INTO tickets VALUES (4, 'me', 'd')")
    project.call("approvals", "approve", asked["approval_id"])
    assert killed.process.wait(60) == -9
    running = project.start("runs", "resume", asked["run_id"])
    again = question(running)
    assert again["approval_id"] != asked["approval_id"] and again["evidence"]["changed_since"]
    approve(project, again)
    assert running.finish().code == 0
    assert [subject for (_, _, subject) in project.rows(ALL)] == ["a!", "b!", "c", "d!"]


@pytest.mark.usefixtures("failpoints")
@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("approval", [True, False])
def test_a_commit_that_fails_and_a_crash_leave_the_write_made_once(
    project: Project, tmp_path: Path, mode: str, approval: bool
) -> None:
    """Every flush of the user's database fails in turn, and wflo dies where it finds that out."""
    library = disk.build(tmp_path)
    path = project.database(f"PRAGMA journal_mode = {mode}; CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)")
    project.steps("""
        @workflow.step
        async def write(context):
            await context.db.execute("INSERT INTO log (what) VALUES (?)", [context.inputs["n"]])
    """)
    killed = 0
    for fault in range(1, 8):
        env = {
            "LD_PRELOAD": str(library),
            "DISK_ROOT": str(project.folder),
            "DISK_FAIL": f"sync:{fault}:5",
            "DISK_MATCH": path.name,
            "WFLO_FAILPOINT": "db.commit.unknown",
        }
        options = ["--require-approval"] if approval else []
        running = project.start("run", "--input", f"n={fault}", *options, **env)
        run = running.until("run.started")["run_id"]
        if approval:
            asked = question(running)
            project.call("approvals", "approve", asked["approval_id"])
        while running.next() is not None:
            pass
        code = running.process.wait(60)
        assert code in (0, -9), (fault, code, running.err)
        killed += code == -9
        if code:
            done = project.call("runs", "resume", run, "--json")
            assert done.code == 0, (fault, done)
        assert project.show(run)["status"] == "completed"
        made = project.rows(f"SELECT count(*) FROM log WHERE what = '{fault}'")
        assert made == [(1,)], (mode, fault, made)
    assert killed, "no flush of this database failed in its commit"


def test_a_commit_that_keeps_failing_is_never_told_as_not_made(project: Project, tmp_path: Path) -> None:
    library = disk.build(tmp_path)
    project.database("PRAGMA journal_mode = wal; CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)")
    project.steps("""
        @workflow.step
        async def write(context):
            await context.db.execute("INSERT INTO log (what) VALUES ('x')")
    """)
    env = {
        "LD_PRELOAD": str(library),
        "DISK_ROOT": str(project.folder),
        "DISK_FAIL": "sync:1+:5",
        "DISK_MATCH": "data.db-wal",
    }
    running = project.start("run", **env)
    run = running.until("run.started")["run_id"]
    running.until("effect.started", kind="db")

    def attempts() -> int:
        return len([e for e in project.events(run) if e["type"] == "step.started"])

    wait_for(lambda: attempts() > 1, "another attempt looks again")
    running.kill()
    running.process.wait(60)
    assert not [e for e in project.events(run) if e["type"] == "effect.finished"]
    done = project.call("runs", "resume", run, "--json")
    assert done.code == 0, done
    assert project.rows("SELECT count(*) FROM log") == [(1,)]

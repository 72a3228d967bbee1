"""What somebody else could make of wflo's store and of its key commands: by a project that is cloned, and by a run."""

import os
import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest
from project import Project
from terminal import Terminal, left_waiting

ASK = "trust this store? [y/N]"

NOTHING = """
    @workflow.step
    def go(context):
        return "ran"
"""

TRIGGER = """
    CREATE TRIGGER decide AFTER INSERT ON approvals WHEN NEW.status = 'pending' BEGIN
      INSERT INTO inbox (run, message, at) VALUES (NEW.run, '{}', NEW.requested_at);
    END;
"""


@pytest.fixture
def cloned(project: Project, tmp_path: Path) -> Project:
    """A project of which this machine's user has said nothing."""
    del project.environment["WFLO_TRUST"]
    project.environment["XDG_STATE_HOME"] = str(tmp_path / "state")
    project.steps(NOTHING)
    return project


def elsewhere(cloned: Project, tmp_path: Path) -> Project:
    """The same, as another user's machine has it: with a run in its store."""
    other = cloned.at(tmp_path / "theirs")
    other.environment = {**cloned.environment, "XDG_STATE_HOME": str(tmp_path / "their state")}
    shutil.copytree(cloned.folder, other.folder)
    assert other.run("--no-drive").code == 0
    return other


def hot_journal(database: Path, journal: Path) -> None:
    """A journal that makes a copy of `database` of whatever it lies beside (https://www.sqlite.org/fileformat.html, 3)."""
    content = database.read_bytes()
    size = struct.unpack(">H", content[16:18])[0]
    pages, nonce = len(content) // size, 7
    out = bytes.fromhex("d9d505f920a163d7") + struct.pack(">IIIII", pages, nonce, pages, 512, size)
    out = out.ljust(512, b"\0")
    for number in range(pages):
        page = content[number * size : (number + 1) * size]
        check = nonce + sum(page[at] for at in range(size - 200, 0, -200))
        out += struct.pack(">I", number + 1) + page + struct.pack(">I", check & 0xFFFFFFFF)
    journal.write_bytes(out)


def test_a_store_that_came_with_the_project_is_asked_about_before_it_is_opened(cloned: Project, tmp_path: Path) -> None:
    shutil.copytree(elsewhere(cloned, tmp_path).folder / ".wflo", cloned.folder / ".wflo")
    before = (cloned.folder / ".wflo/wflo.db").read_bytes()
    for verb in (["run"], ["run", "--detach"], ["runs", "list"], ["runs", "list", "--json"], ["budgets", "list"]):
        refused = cloned.call(*verb)
        assert refused.code == 2 and "WFLO-8016" in refused.out + refused.err, (verb, refused)
    assert (cloned.folder / ".wflo/wflo.db").read_bytes() == before
    assert cloned.call("runs", "list", WFLO_TRUST="1").code == 0
    assert cloned.call("runs", "list").code == 2, "that was for one command"
    with Terminal(cloned, "run") as screen:
        screen.until(ASK)
        screen.type("n")
        assert screen.end() == 2, screen.text
    with Terminal(cloned, "run") as screen:
        screen.until(ASK)
        screen.type("y")
        assert screen.end() == 0, screen.text
    assert cloned.call("runs", "list").code == 0
    assert cloned.run("--detach").code == 0


def test_the_own_store_asks_nothing_and_its_copy_does(cloned: Project, tmp_path: Path) -> None:
    run = left_waiting_for_somebody(cloned)
    for verb in (["runs", "list"], ["run", "--no-drive"]):
        assert cloned.call(*verb).code == 0
    copy = cloned.at(tmp_path / "copy")
    shutil.copytree(cloned.folder, copy.folder)
    assert copy.call("runs", "list").code == 2
    assert "wflo.db" in copy.call("trust").out
    assert run in copy.call("runs", "list").out
    assert cloned.call("runs", "list").code == 0


def left_waiting_for_somebody(cloned: Project) -> str:
    cloned.steps("""
        @workflow.step(approval_required=True)
        async def go(context):
            return "ran"
    """)
    return left_waiting(cloned)


def test_a_store_that_is_put_into_the_place_of_the_own_one_is_asked_about(cloned: Project, tmp_path: Path) -> None:
    theirs = elsewhere(cloned, tmp_path).folder / ".wflo/wflo.db"
    assert cloned.run("--no-drive").code == 0
    assert cloned.call("runs", "list").code == 0
    own = cloned.folder / ".wflo/wflo.db"
    shutil.copy(theirs, own.with_name("new"))
    own.with_name("new").rename(own)
    assert cloned.call("runs", "list").code == 2, "as Git replaces a file that it has and ignores"


def test_a_store_of_an_earlier_wflo_is_taken_over(cloned: Project) -> None:
    assert cloned.run().code == 0
    shutil.rmtree(Path(cloned.environment["XDG_STATE_HOME"]) / "wflo/stores")
    (cloned.folder / ".wflo/wflo.db-owner").unlink()
    assert cloned.call("runs", "list").code == 0
    (cloned.folder / ".wflo/wflo.db-owner").unlink()
    assert cloned.call("runs", "list").code == 2


def test_a_store_that_would_answer_by_itself_is_not_opened(project: Project) -> None:
    project.steps(NOTHING)
    assert project.run("--no-drive").code == 0
    project.rows_change(project.folder / ".wflo/wflo.db", TRIGGER)
    for verb in (["run"], ["runs", "list"]):
        refused = project.call(*verb)
        assert refused.code != 0 and "WFLO-2012" in refused.err and "`decide`" in refused.err, refused


def test_a_run_cannot_replace_the_store_nor_a_hidden_database(project: Project, tmp_path: Path) -> None:
    project.write_settings('\n[storage]\nurl = "sqlite:data/runs.db"\n[sandbox]\nhide = ["customers"]\n')
    for name, text in (("customers", "real"), ("fake.db", "FAKE"), ("open.db", "real")):
        with closing(sqlite3.connect(project.folder / name)) as db, db:
            db.executescript(f"CREATE TABLE t (x); INSERT INTO t VALUES ('{text}')")
    hot_journal(project.folder / "fake.db", project.folder / "journal")
    (project.folder / "data").mkdir()
    program = """
        import os, shutil
        for name in ("data/runs.db-journal", "customers-journal", "open.db-journal", "data/blobs/x"):
            os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
            shutil.copy("journal", name)
        print(os.listdir("data"))
    """
    project.write("prog.py", program)
    assert project.call("run", "--no-drive", "--", "true").code == 0
    (project.folder / "data/blobs").mkdir(exist_ok=True)
    (project.folder / "data/blobs/earlier").write_text("what an earlier run was asked")
    done = project.call("run", "--", "python3", "prog.py")
    assert done.code == 0 and "earlier" not in done.out, done
    project.call("apply", "latest")
    project.call("apply", "latest", ".", "--yes")
    assert not (project.folder / "data/runs.db-journal").exists()
    assert not (project.folder / "data/blobs/x").exists()
    assert not (project.folder / "customers-journal").exists()
    assert project.call("runs", "list").code == 0
    assert project.rows("SELECT x FROM t", "customers") == [("real",)]


def test_a_journal_beside_a_database_of_the_project_is_asked_about(project: Project) -> None:
    with closing(sqlite3.connect(project.folder / "open.db")) as db, db:
        db.execute("CREATE TABLE t (x)")
    done = project.call("run", "--", "sh", "-c", "echo x > open.db-journal; echo x > other-journal")
    assert done.code == 0, done
    applied = project.call("apply", "latest")
    assert "open.db-journal" in applied.out + applied.err, applied
    assert not (project.folder / "open.db-journal").exists()
    assert (project.folder / "other-journal").exists()


def test_a_key_command_is_what_was_trusted_wherever_it_is_called_from(cloned: Project, tmp_path: Path) -> None:
    for folder in ("tools", "docs/tools"):
        (cloned.folder / folder).mkdir(parents=True)
    ran = tmp_path / "ran"
    cloned.write("tools/key.py", "import helper\nprint(helper.key)\n")
    cloned.write("tools/helper.py", "key = 'sk-key'\n")
    cloned.write("docs/tools/key.py", f"open({str(ran)!r}, 'w').close()\nprint('key')\n")
    cloned.write_settings("""
        [providers.local]
        dialect = "openai"
        base_url = "http://127.0.0.1:9/v1"
        api_key_command = ["python3", "tools/key.py"]
    """)
    assert cloned.call("trust").code == 0
    assert cloned.at(cloned.folder / "docs").run().code == 0
    assert not ran.exists(), "another file of that name ran"
    cloned.write("tools/helper.py", "key = 'sk-other'\n")
    assert cloned.run().code == 2
    assert cloned.call("trust").code == 0 and cloned.run().code == 0
    # A run's change to any of it is not brought in unasked.
    done = cloned.call("run", "--", "sh", "-c", "echo x >> tools/helper.py; echo x > tools/json.py; echo x > free.txt")
    assert done.code == 0, done
    cloned.call("apply", "latest")
    assert (cloned.folder / "free.txt").exists() and not (cloned.folder / "tools/json.py").exists()
    assert "x" not in (cloned.folder / "tools/helper.py").read_text()[-2:]


def test_a_key_command_that_nobody_can_read_is_not_trusted(cloned: Project) -> None:
    (cloned.folder / "tools").mkdir()
    os.mkfifo(cloned.folder / "tools/key")
    cloned.write_settings("""
        [providers.local]
        dialect = "openai"
        base_url = "http://127.0.0.1:9/v1"
        api_key_command = ["sh", "tools/key"]
    """)
    for verb in ("trust", "run"):
        refused = cloned.call(verb)
        assert refused.code == 2 and ("WFLO-8018" in refused.err or verb == "run"), refused

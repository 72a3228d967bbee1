"""Disks that lose power, fail, fill up; files that are locked or damaged. The real binary, from outside.

Each time: a named error, nothing acknowledged lost, nothing finished repeated, nothing overwritten.
"""

import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import textwrap
from decimal import Decimal
from pathlib import Path

import disk
import pytest
from model import MockModel
from project import Done, Project

TABLES = "PRAGMA journal_mode = WAL; CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT NOT NULL)"
STEPS = """
    workflow.set_budget(max_cost_usd="1.00", action_on_exceeded="halt")

    async def ask(context, word):
        call = dict(model="m", messages=[{"role": "user", "content": word}], max_tokens=5)
        await context.db.execute("INSERT INTO log (what) VALUES (?)", [(await context.llm.chat(**call)).text])

    @workflow.step
    async def one(context):
        await ask(context, "first")
        (context.workspace / "x.txt").write_text("x" * 100)
        return "o" * 50_000

    @workflow.step
    async def two(context):
        await asyncio.gather(ask(context, "second"), ask(context, "third"))
        await context.db.execute("INSERT INTO log (what) VALUES ('last')")
        return (context.workspace / "x.txt").read_text()
"""
ASKED = ("first", "second", "third")
WRITTEN = sorted([*(f"You said: {word}" for word in ASKED), "last"])


@pytest.fixture
def watched(project: Project, tmp_path: Path) -> tuple[Project, Path]:
    project.database(TABLES)
    project.steps(STEPS)
    return project, disk.build(tmp_path)


def newest(project: Project) -> dict | None:
    listed = project.call("runs", "list", "--json")
    assert listed.code == 0, listed
    return listed.events[0] if listed.out.strip() else None


def goes_on(project: Project, model: MockModel, answered: set[str], why: object) -> None:
    """The run is taken up to its end: each write once, no durable answer asked for again, the books right."""
    run, before = newest(project), model.asked()
    if run is None:
        assert project.rows("SELECT * FROM log") == [], why
        return
    if run["status"] != "completed":
        done = project.call("runs", "resume", run["id"], "--json")
        assert done.code == 0, (why, done)
    shown = project.show(run["id"])
    assert shown["status"] == "completed", (why, shown)
    assert sorted(what for (what,) in project.rows("SELECT what FROM log")) == WRITTEN, why
    again = {word for word in ASKED if model.asked()[word] > before[word]}
    assert not again & answered, (why, again, answered)
    events = project.events(run["id"])
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), why
    ends = [event for event in events if event["type"] == "effect.finished" and event["kind"] == "llm"]
    spent = sum((Decimal(end["cost_usd"]) for end in ends), Decimal(0))
    budget = shown["budget"]
    assert (Decimal(budget["held_usd"]), Decimal(budget["settled_usd"])) == (0, spent), why
    assert len(ends) == len(ASKED) and spent <= Decimal(budget["limit_usd"]), why


NOTES = "".join(f"line {number}\n" for number in range(700))
READS = """
    @workflow.step
    def reads(context):
        return [(context.workspace / name).read_text() for name in ("notes.txt", "x.txt")]
"""


def test_a_loss_of_power_at_any_flush_is_resumed(
    wflo: Path, model: MockModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The project, its run's store and the store of its workspace lie on one disk."""
    root, log = tmp_path / "disk", tmp_path / "log"
    (root / "project").mkdir(parents=True)
    project = Project(root / "project", wflo, model.address)
    project.environment["XDG_STATE_HOME"] = str(root / "state")
    project.database(TABLES)
    project.steps(STEPS + READS.replace("@workflow.step", "@workflow.step(depends_on=['two'])"))
    project.write("notes.txt", NOTES)
    # A run of its own that takes the project in anew, by names of contents that it may find there.
    head = "from wflo import *\nworkflow = Workflow('again')\n"
    project.write("again.py", head + textwrap.dedent(READS).replace(' "x.txt"', ""))
    state, played = disk.Disk(root), 0
    watch = {"LD_PRELOAD": str(disk.build(tmp_path)), "DISK_ROOT": str(root), "DISK_LOG": str(log)}
    done = project.run(**watch)
    assert done.code == 0, done
    ops = disk.read(log)
    flushes = [at for at, op in enumerate(ops) if op.kind == "s"]
    seed = int(os.environ.get("WFLO_TEST_SEED", os.getpid()))
    chance = random.Random(seed)
    moments = [(at + chance.randint(0, 1), fate) for at in chance.sample(flushes, 12) for fate in ("lost", "torn")]
    # Where the workspace is taken in and a step's files are: after each content that got its name.
    contents = [at for at, op in enumerate(ops) if op.kind in "rl" and "/blobs/" in op.name and "/state/" in op.name]
    assert contents, "the workspace is on the watched disk"
    moments += [(at + 1, "named") for at in contents]
    moments.sort()
    with capsys.disabled():
        print(f"\nWFLO_TEST_SEED={seed}: {len(ops)} operations, {len(flushes)} flushes, {len(moments)} images")
    for number, (at, fate) in enumerate(moments):
        while played < at:
            state.play(ops[played])
            played += 1
        shutil.rmtree(root)
        state.image(root, fate, chance)
        said = [line for op in ops[:at] if op.kind == "a" for line in op.data.decode().splitlines()]
        # What was printed was durable: an answer that is told of there is not asked for again.
        told = [json.loads(line) for line in said if line.startswith('{"run_id"')]
        ends = [event for event in told if event["type"] == "effect.finished" and event["kind"] == "llm"]
        places = {("one", "0"): "first", ("two", "0.0"): "second", ("two", "0.1"): "third"}
        answered = {places[(end["step"], end["path"])] for end in ends}
        why = (seed, number, at, fate, len(told))
        run = newest(project)
        assert run is not None or not told, (why, "the run was acknowledged")
        goes_on(project, model, answered, why)
        if run is not None:
            assert project.show(run["id"])["outputs"]["reads"] == [NOTES, "x" * 100], why
        again = project.run("again.py")
        assert (again.code, again.run["outputs"]) == (0, {"reads": [NOTES]}), (why, again)


def test_a_content_of_the_workspace_has_no_name_before_it_is_flushed(project: Project, tmp_path: Path) -> None:
    state = tmp_path / "state"
    project.environment["XDG_STATE_HOME"] = str(state)
    project.steps(READS)
    project.write("notes.txt", NOTES)
    project.write("x.txt", "x" * 100)
    # Making the folder of what is kept of stores is flushed too, and is not what is counted here.
    (state / "wflo" / "stores").mkdir(parents=True, mode=0o700)
    watch = {"LD_PRELOAD": str(disk.build(tmp_path)), "DISK_ROOT": str(state), "DISK_MATCH": "/tmp/"}
    for number in (1, 2, 3):
        done = project.run(**watch, DISK_FAIL=f"sync:{number}:5")
        assert done.code != 0 and "WFLO-5" in done.err + done.out, done
        named = [path for path in state.rglob("blobs/**/*") if path.is_file()]
        assert named == [], "a loss of power now may leave anything under these names"
    done = project.run()
    assert (done.code, done.run["outputs"]) == (0, {"reads": [NOTES, "x" * 100]}), done
    assert len([path for path in state.rglob("blobs/**/*") if path.is_file()]) == 4
    assert [path for path in state.rglob("tmp/*") if path.is_file()] == [], "what failed left nothing behind"


@pytest.mark.parametrize("fault", [f"sync:{n}:5" for n in (4, 9, 11, 12, 14, 16, 19, 23)] + ["write:60:5", "sync:9+:5"])
def test_a_disk_that_fails_is_named_and_the_run_goes_on_later(
    watched: tuple[Project, Path], model: MockModel, fault: str
) -> None:
    project, library = watched
    # The run's own store only: what a failure of the user's database means is the step's to say.
    env = {"LD_PRELOAD": str(library), "DISK_ROOT": str(project.folder), "DISK_FAIL": fault, "DISK_MATCH": ".wflo"}
    done = project.run(**env)
    assert done.code in (0, 1, 70), done
    if done.code:
        assert "WFLO-2008" in done.err, done
    run = newest(project)
    events = project.events(run["id"]) if run else []
    places = {("one", "0"): "first", ("two", "0.0"): "second", ("two", "0.1"): "third"}
    ends = [event for event in events if event["type"] == "effect.finished" and event["kind"] == "llm"]
    goes_on(project, model, {places[(end["step"], end["path"])] for end in ends}, (fault, done))
    assert project.processes() == []


def mounted(folder: Path, size: str, project: Project, *arguments: str) -> Done:
    """`wflo ARGUMENTS` where `folder` is a small disk of its own; its contents are copied in and out."""
    script = (
        'set -e; dir="$1"; size="$2"; project="$3"; shift 3; mkdir "$dir.kept"; cp -a "$dir/." "$dir.kept/"; '
        'mount -t tmpfs -o "size=$size" tmpfs "$dir"; cp -a "$dir.kept/." "$dir/"; code=0; cd "$project"; "$@" || code=$?; '
        'cd /; rm -rf "$dir.kept"; mkdir "$dir.kept"; cp -a "$dir/." "$dir.kept/"; exit $code'
    )
    user = [] if os.getuid() == 0 else ["--map-root-user"]
    where = [str(folder), size, str(project.folder)]
    command = ["unshare", *user, "--mount", "bash", "-c", script, "-", *where, str(project.wflo), *arguments]
    done = subprocess.run(
        command,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    shutil.rmtree(folder)
    (folder.parent / f"{folder.name}.kept").rename(folder)
    return Done(done)


@pytest.mark.parametrize("size", ["64k", "256k", "512k", "900k", "1400k", "2m"])
def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_room(
    project: Project, model: MockModel, size: str
) -> None:
    """Every size stops somewhere else: in the store, a blob, a layer, or the user's database."""
    project.database(TABLES)
    project.steps(STEPS)
    done = mounted(project.folder, size, project, "run", "--json")
    if done.code:
        assert any(code in done.err + done.out for code in ("WFLO-2004", "WFLO-2010", "WFLO-5", "WFLO-6008")), (
            size,
            done,
        )
        assert "hint: " in done.err, done
    run = newest(project)
    told = [event.get("error") or {} for event in project.events(run["id"])] if run else []
    if run and any(error.get("code") == "WFLO-6008" for error in told):
        # The user's own database had no room: the step was told so, and that is what it is told again.
        project.call("runs", "resume", run["id"])
        shown = project.show(run["id"])
        assert (shown["status"], shown["error"]["code"]) == ("failed", "WFLO-6008"), shown
        written = [what for (what,) in project.rows("SELECT what FROM log")]
        assert len(written) == len(set(written)) < len(WRITTEN)
        assert Decimal(shown["budget"]["held_usd"]) == 0
        return
    goes_on(project, model, set(), (size, done))


def test_a_locked_store_is_named_and_readers_go_on(project: Project, model: MockModel) -> None:
    project.database(TABLES)
    project.steps(STEPS)
    assert project.run().code == 0
    with contextlib.closing(sqlite3.connect(project.folder / ".wflo/wflo.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert project.call("runs", "list").code == 0
        assert project.call("runs", "show", "latest").code == 0
        asked = len(model.entries)
        refused = project.run()
        assert refused.code == 1 and "WFLO-2006" in refused.err and "hint: " in refused.err, refused
        assert len(model.entries) == asked
        other.execute("ROLLBACK")
    assert project.run().code == 0


@pytest.mark.parametrize("size", ["64k", "600k", "1200k", "1800k"])
def test_a_full_disk_of_the_workspaces_is_named_and_the_run_goes_on_once_there_is_room(
    project: Project, tmp_path: Path, size: str
) -> None:
    """Every size stops somewhere else: where the project is taken in, or where a step's files are."""
    state = tmp_path / "state"
    state.mkdir()
    project.environment["XDG_STATE_HOME"] = str(state)
    project.write("notes.txt", NOTES * 60)
    project.steps("""
        @workflow.step
        def writes(context):
            (context.workspace / "made.txt").write_text((context.workspace / "notes.txt").read_text() * 2)

        @workflow.step
        def reads(context):
            return len((context.workspace / "made.txt").read_text())
    """)
    done = mounted(state, size, project, "run", "--json")
    if done.code:
        assert any(code in done.err + done.out for code in ("WFLO-2004", "WFLO-2010", "WFLO-5")), (size, done)
        assert "hint: " in done.err, done
    again = project.call("runs", "resume", "latest", "--json") if newest(project) else project.run()
    if again.code:
        # A run that ended of it is begun anew.
        again = project.call("runs", "retry", "latest", "--json")
    assert (again.code, again.run["outputs"]["reads"]) == (0, 2 * len(NOTES * 60)), (size, done, again)
    assert project.processes() == []


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    match how:
        case "truncated":
            del content[len(content) // 2 // 4096 * 4096 :]
        case "garbage":
            content[:] = b"my shopping list\n" * 500
        case "a header of zeros":
            content[:100] = bytes(100)
        case "empty pages":
            content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "garbage", "a header of zeros", "empty pages"])
def test_a_damaged_store_is_named_and_left_as_it_is(project: Project, how: str) -> None:
    project.steps("""
        @workflow.step
        def step(context):
            return 1
    """)
    assert project.run().code == 0
    store = project.folder / ".wflo/wflo.db"
    damage(store, how)
    before = store.read_bytes()
    for command in (["runs", "list"], ["runs", "show", "latest"], ["run"]):
        done = project.call(*command)
        assert done.code == 1 and "WFLO-2005" in done.err and "hint: " in done.err, (command, done)
        assert store.read_bytes() == before, command


def test_a_damaged_or_missing_blob_is_named(project: Project) -> None:
    project.steps("""
        @workflow.step
        def step(context):
            return "x" * 100_000
    """)
    assert project.run().code == 0
    blobs = [path for path in (project.folder / ".wflo/blobs").rglob("*") if path.is_file()]
    assert blobs
    for path in blobs:
        path.write_bytes(b"y" * path.stat().st_size)
    damaged = project.call("runs", "show", "latest")
    assert damaged.code == 1 and "WFLO-2005" in damaged.err, damaged
    for path in blobs:
        path.unlink()
    missing = project.call("runs", "show", "latest")
    assert missing.code == 1 and "WFLO-2005" in missing.err, missing


def test_a_users_database_that_is_damaged_or_locked_is_the_steps_error(project: Project) -> None:
    path = project.database(TABLES)
    project.steps("""
        @workflow.step
        async def write(context):
            await context.db.execute("INSERT INTO log (what) VALUES ('x')")
    """)
    whole = path.read_bytes()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        locked = project.run()
        assert (locked.code, locked.run["error"]["code"]) == (1, "WFLO-6006"), locked
        other.execute("ROLLBACK")
    path.write_bytes(b"my shopping list\n" * 500)
    before = path.read_bytes()
    done = project.run()
    assert done.code == 1 and "WFLO-6004" in done.err and path.read_bytes() == before, done
    path.unlink()
    done = project.run()
    assert done.code == 1 and "WFLO-6001" in done.err and not path.exists(), done
    path.write_bytes(whole)
    assert project.run().code == 0

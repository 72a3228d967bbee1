"""Kills at any moment: nothing finished is repeated or paid again, nothing is lost, nothing stays.

Only processes that these tests started are killed, each by its id.
"""

import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import threading
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from model import MockModel
from project import Project, Running, wait_for

LIMIT = Decimal("0.50")
KILLS = 8  # in a run, at most; the steps share them, and a step that dies too often in a row is parked
WORKFLOW = """
    workflow.set_budget(max_cost_usd="0.50", action_on_exceeded="halt")

    def asked(word):
        return dict(model="m", messages=[{"role": "user", "content": word}], max_tokens=10)

    @workflow.step
    async def ask(context):
        for n in range(4):
            text = (await context.llm.chat(**asked(f"ask {n}"))).text
            await context.db.execute("INSERT INTO log (what) VALUES (?)", [f"{text} {await context.random()}"])
        return "asked"

    @workflow.step
    async def together(context):
        async def one(n):
            text = (await context.llm.chat(**asked(f"together {n}"))).text
            await context.db.execute("INSERT INTO log (what) VALUES (?)", [text])
            return text
        said = await asyncio.gather(*(one(n) for n in range(3)))
        (context.workspace / "said.txt").write_text("\\n".join(said))
        await context.sleep(0.2)
        return said

    @workflow.step(approval_required=True)
    async def change(context):
        await context.db.execute("UPDATE log SET checked = checked + 1")
        return (context.workspace / "said.txt").read_text()

    @workflow.step(rollback_enabled=True, retries=1, retry_backoff=0.01)
    async def fails_once(context):
        await context.db.execute("UPDATE log SET checked = checked + 10")
        if context.attempt == 1:
            raise ValueError("the first try")
        text = (await context.llm.chat(**asked("last"))).text
        (context.workspace / "report.txt").write_text(text)
        return text
"""
# Where in the workflow each model call is made: (step, path, seq) -> what it says.
CALLS = {("ask", "0", 3 * n): f"ask {n}" for n in range(4)}
CALLS |= {("together", f"0.{n}", 0): f"together {n}" for n in range(3)}
CALLS |= {("fails_once", "0", 1): "last"}


def finished(events: list[dict]) -> set[str]:
    """What the model calls said whose answer is durable."""
    found = (e for e in events if e["type"] == "effect.finished" and e["kind"] == "llm")
    return {CALLS[(e["step"], e["path"], e["effect_seq"])] for e in found}


def groups_of(pid: int) -> list[Path]:
    """What is left of a launcher's control groups."""
    found = []
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        found += [Path(folder) / name for name in names if re.fullmatch(rf"wflo-\d+-{pid}-\d+", name)]
        if folder.count("/") > 6:
            names.clear()
    return found


def children(pid: int) -> list[int]:
    """The children of a process, whichever of its threads made them."""
    found: list[int] = []
    for told in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, told.read_text().split())
    return found


def is_launcher(pid: int) -> bool:
    """Whether it lives and is still a launcher: an id may be given again."""
    try:
        return b"__sandbox-launcher" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def mounts() -> set[str]:
    return set(Path("/proc/self/mountinfo").read_text().splitlines())


def without_its_number(what: str) -> str:
    """What a write of `ask` says, without the random number at its end, however that is written."""
    said = re.fullmatch(r"(You said: ask \d) (\S+)", what)
    if not said:
        return what
    assert 0 <= float(said[2]) < 1, what
    return said[1]


@pytest.mark.parametrize("seed", range(4))
def test_a_random_killer(project: Project, model: MockModel, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(seed)
    project.database(
        "CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT NOT NULL, checked INTEGER NOT NULL DEFAULT 0)"
    )
    project.steps(WORKFLOW)
    mounted, run, rounds, kills, launchers = mounts(), "", [], 0, set()
    answers: dict[str, int] = {}  # what was durable when a round began, and how often it had been asked then
    for _ in range(6 * KILLS):
        running = project.start("runs", "resume", run) if run else project.start("run")
        killer = threading.Timer(chance.uniform(0.02, 0.8), kill_if_alive, [running])
        # Some kills may come before anything has happened. The others wait for a sign of life, or on a busy
        # machine they would all be of that kind.
        is_due = kills < KILLS
        if is_due and chance.random() < 0.25:
            killer.start()
            is_due = False
        done = None
        while (event := running.next()) is not None:
            if is_due:
                killer.start()
                is_due = False
            launchers.update(children(running.pid))
            run = run or event.get("run_id", "")
            if event["type"] == "approval.requested":
                decide(project, event["approval_id"])
        code = running.process.wait()
        if code == -signal.SIGKILL:
            kills += 1
        run = run or newest(project)
        events = project.events(run) if run else []
        assert all(model.asked()[said] == count for said, count in answers.items()), f"seed {seed}: asked again"
        answers |= {said: model.asked()[said] for said in finished(events) - set(answers)}
        last = events[-1]["type"] if events else "nothing"
        rounds.append(f"{'killed' if code == -signal.SIGKILL else f'exit {code}'} after {len(events)} events ({last})")
        if run:
            shown = project.show(run)
            budget = shown["budget"]
            assert Decimal(budget["settled_usd"]) + Decimal(budget["held_usd"]) <= LIMIT, budget
            for waiting in shown["approvals"]:
                decide(project, waiting)
            if shown["status"] not in ("pending", "running", "waiting", "paused"):
                done = shown
        if done:
            break
    with capsys.disabled():
        print(f"\nseed {seed}: {kills} kills, " + "; ".join(rounds))
    assert done and done["status"] == "completed", (done, rounds)

    # Each call's answer is what it should be; what was asked again was lost on the way and is said to be uncertain.
    events = project.events(run)
    assert finished(events) == set(CALLS.values())
    extra = {said: count - 1 for said, count in model.asked().items() if count > 1}
    uncertain = [e for e in events if e["type"] == "effect.finished" and e.get("uncertain")]
    assert len(extra) <= len(uncertain), (extra, uncertain)
    assert sum(extra.values()) <= kills
    # Each write happened once, and the undone one left nothing.
    log = project.rows("SELECT what, checked FROM log")
    texts = Counter(without_its_number(what) for what, _ in log)
    assert texts == {f"You said: {said}": 1 for said in CALLS.values() if said != "last"}
    assert {checked for _, checked in log} == {11}
    assert done["outputs"]["change"] == "\n".join(f"You said: together {n}" for n in range(3))
    assert Decimal(done["budget"]["held_usd"]) == 0
    # Nothing of it is left on the machine.
    wait_for(lambda: project.processes() == [], f"no process is left: {project.processes()}")
    wait_for(lambda: not any(is_launcher(pid) for pid in launchers), "no launcher is left")

    def swept() -> bool:
        # An empty control group may outlive a launcher that lost its engine; the next one sweeps it away,
        # once nobody keeps the dead launcher's id (a slow init does).
        assert project.call("sandbox", "exec", "--", "true").code == 0
        return not any(groups_of(pid) for pid in launchers)

    wait_for(swept, "no control group is left")
    # Others of this machine may mount and unmount meanwhile; what was left behind would stay.
    wait_for(lambda: mounts() <= mounted, "no mount is left")


def kill_if_alive(running: Running) -> None:
    if running.process.poll() is None:
        running.kill()


def newest(project: Project) -> str:
    """The run that was accepted before its first event was printed, if one was."""
    listed = project.call("runs", "list", "--json")
    return listed.events[0]["id"] if listed.out.strip() else ""


def decide(project: Project, approval: str) -> None:
    """Approves, as a person at another terminal; the engine may be killed meanwhile."""
    shown = project.call("approvals", "show", approval, "--json")
    if json.loads(shown.out)["status"] == "pending":
        project.call("approvals", "approve", approval, "--no-drive")


SLOW = """
    @workflow.step
    async def slow(context):
        said = (await context.llm.chat(model="m", messages=[{"role": "user", "content": "once"}], max_tokens=5)).text
        if context.resumes == 0:
            time.sleep(3600)
        return [said, context.resumes]
"""


def inside(engine: int, depth: int) -> int:
    """A process of the engine's sandbox: 1 its pid 1, 2 the runner."""
    found: list[int] = []

    def is_there() -> bool:
        nonlocal found
        found = [engine]
        for _ in range(depth + 1):
            found = [child for pid in found for child in children(pid)]
        return bool(found)

    wait_for(is_there, "the step's process")
    return found[0]


@pytest.mark.parametrize(("depth", "name"), [(1, "the sandbox's pid 1"), (2, "the runner")])
def test_a_killed_worker_is_replaced_and_its_call_not_repeated(
    project: Project, model: MockModel, depth: int, name: str
) -> None:
    project.steps(SLOW)
    running = project.start("run")
    running.until("effect.finished")
    os.kill(inside(running.pid, depth), signal.SIGKILL)
    done = running.finish()
    assert done.code == 0, (name, done)
    assert done.run["outputs"]["slow"] == ["You said: once", 1]
    assert model.asked() == {"once": 1}
    assert len(done.of("step.lost")) == 1
    assert project.processes() == []


EFFECTS = {
    "llm": """(await context.llm.chat(model="m", messages=[{"role": "user", "content": "once"}], max_tokens=5)).text""",
    "db": """(await context.db.execute("INSERT INTO log (what) VALUES ('once')")).rows_affected""",
    "tool": """(await context.tools.run(["sh", "-c", "until [ -e /gate/open ]; do sleep 0.05; done; echo ran"])).stdout""",
    # Shorter than a wait that its sandbox is ended for.
    "sleep": "await context.sleep(1.9)",
}


@pytest.mark.parametrize("depth", [1, 2], ids=["pid 1", "the runner"])
@pytest.mark.parametrize("kind", EFFECTS)
def test_a_worker_killed_in_the_middle_of_an_effect_is_replaced(
    project: Project, model: MockModel, depth: int, kind: str
) -> None:
    gate = project.folder.parent / "gate"
    gate.mkdir()
    project.write_settings(f'\n[sandbox]\nrw = ["{gate}:/gate"]\n')
    path = project.database("CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)")
    project.steps(f"""
        workflow.set_budget(max_cost_usd="1.00", action_on_exceeded="halt")

        @workflow.step
        async def effect(context):
            return [{EFFECTS[kind]}, context.resumes]
    """)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        if kind == "db":
            other.execute("BEGIN IMMEDIATE")
        if kind == "llm":
            model.hold()
        running = project.start("run")
        running.until("effect.started", kind=kind)
        if kind == "llm":
            model.wait_for(1)
        os.kill(inside(running.pid, depth), signal.SIGKILL)
        if kind == "db":
            other.execute("ROLLBACK")
    model.release()
    (gate / "open").touch()
    done = running.finish()
    assert done.code == 0, (kind, done)
    result, resumes = done.run["outputs"]["effect"]
    assert (result, resumes) == ({"llm": "You said: once", "db": 1, "tool": "ran\n", "sleep": None}[kind], 1)
    # The engine has lived: what was on its way was finished and read back, not done again.
    assert model.asked() == ({"once": 1} if kind == "llm" else {})
    assert len(project.rows("SELECT * FROM log")) == (1 if kind == "db" else 0)
    assert len(done.of("effect.finished", kind=kind)) == 1
    assert [event["attempt"] for event in done.of("step.lost")] == [1]
    assert project.processes() == []


def test_nobody_takes_over_from_a_stopped_engine(project: Project, model: MockModel) -> None:
    project.steps("""
        @workflow.step
        async def wait(context):
            await context.approve("Go on?")
            return "went on"
    """)
    running = project.start("run")
    asked = running.until("approval.requested")
    running.until("run.waiting")
    running.kill(signal.SIGSTOP)
    refused = project.call("runs", "resume", asked["run_id"])
    assert refused.code != 0 and str(running.pid) in refused.err, refused
    listed = project.call("runs", "list")
    assert str(running.pid) in listed.out, listed
    approved = project.call("approvals", "approve", asked["approval_id"])
    assert approved.code == 0 and str(running.pid) in approved.err, approved
    running.kill(signal.SIGCONT)
    done = running.finish()
    assert (done.code, done.run["outputs"]["wait"]) == (0, "went on"), done

    running = project.start("run")
    run = running.until("run.waiting")["run_id"]
    running.kill(signal.SIGSTOP)
    cancelled = project.call("runs", "cancel", run)
    assert cancelled.code == 75 and str(running.pid) in cancelled.err, cancelled
    assert project.show(run)["status"] == "waiting"
    running.kill(signal.SIGCONT)
    assert running.finish().run["status"] == "cancelled"

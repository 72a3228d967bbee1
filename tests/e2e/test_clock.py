"""Wall clocks that are set while wflo runs, and between its processes. (What the engine's timers do then is
proven with a clock of its own in `crates/wflo-engine/tests/driver/clock.rs`.)"""

import json
import os
import sqlite3
import struct
import time
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import disk
from model import MockModel
from project import Project

DAY = 86_400


class Wall:
    """The wall clock of the commands that are started with its environment. It is noon when a test begins, so that no
    day passes by itself."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "clock"
        self.noon = DAY // 2 - int(time.time()) % DAY
        self.set(0)
        self.environment = {"LD_PRELOAD": str(disk.build(folder)), "CLOCK_FILE": str(self.file)}

    def set(self, seconds: int) -> None:
        # In place: running commands look at it by a mapping of the file.
        with open(self.file, "r+b" if self.file.exists() else "w+b") as file:
            file.write(struct.pack("<q", self.noon + seconds))


def test_a_run_whose_clock_is_set_back_and_forth_ends_and_can_be_shown(
    project: Project, model: MockModel, tmp_path: Path
) -> None:
    wall = Wall(tmp_path)
    project.database("CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)")
    project.steps("""
        workflow.set_budget(max_cost_usd="1.00", action_on_exceeded="halt")

        async def ask(context, word):
            call = dict(model="m", messages=[{"role": "user", "content": word}], max_tokens=5)
            await context.db.execute("INSERT INTO log (what) VALUES (?)", [(await context.llm.chat(**call)).text])

        @workflow.step
        async def before(context):
            await ask(context, "before")
            await context.approve("Go on?")
            await ask(context, "between")
            return (await context.now()).isoformat()

        @workflow.step
        async def after(context):
            await context.approve("And on?")
            await context.sleep(0.2)
            await ask(context, "after")
            return (await context.now()).isoformat()
    """)
    project.environment |= wall.environment
    running = project.start("run")
    for seconds in (-DAY, 10 * DAY):
        asked = running.until("approval.requested")
        wall.set(seconds)
        assert project.call("approvals", "approve", asked["approval_id"]).code == 0
    done = running.finish()
    assert done.code == 0, done
    before, after = (datetime.fromisoformat(done.run["outputs"][step]) for step in ("before", "after"))
    assert after - before > timedelta(days=10), "the clock was set"
    assert model.asked() == {"before": 1, "between": 1, "after": 1}
    assert len(project.rows("SELECT * FROM log")) == 3
    assert done.run["budget"]["held_usd"] == "0.00"
    for command in (["runs", "show"], ["runs", "show", "--json"], ["runs", "events"], ["runs", "trace"]):
        shown = project.call(*command[:2], "latest", *command[2:])
        assert shown.code == 0, (command, shown)
    for command in (["runs", "list"], ["approvals", "list", "--all"], ["costs", "report"]):
        shown = project.call(*command)
        assert shown.code == 0, (command, shown)


def test_the_newest_run_is_the_last_one_whatever_the_clock_said(project: Project, tmp_path: Path) -> None:
    wall = Wall(tmp_path)
    project.environment |= wall.environment
    project.steps("""
        @workflow.step
        def step(context):
            return 1
    """)
    made = []
    for seconds in (0, -DAY, DAY, -30 * DAY):
        wall.set(seconds)
        made.append(project.run().run["id"])
    listed = [run["id"] for run in project.call("runs", "list", "--json").events]
    assert listed == made[::-1]
    assert json.loads(project.call("runs", "show", "latest", "--json").out)["id"] == made[-1]


def test_a_sleep_is_over_by_the_boot_clock_although_the_wall_clock_was_set_back(
    project: Project, tmp_path: Path
) -> None:
    wall = Wall(tmp_path)
    project.steps("""
        @workflow.step
        async def sleeps(context):
            await context.sleep(3600)
            return "slept"
    """)
    running = project.start("run")
    run = running.until("run.waiting")["run_id"]
    running.kill()
    running.finish()
    # Two hours later by the clock that counts since boot, a day earlier by the one on the wall.
    wall.set(-DAY)
    project.environment |= wall.environment
    user = () if os.getuid() == 0 else ("--map-root-user",)
    later = project.start("runs", "resume", run, wrap=("unshare", *user, "--time", "--boottime", "7200", "--fork"))
    done = later.finish()
    assert (done.code, done.run["outputs"]) == (0, {"sleeps": "slept"}), done


def test_a_day_has_one_budget_however_often_the_clock_comes_back_to_it(
    project: Project, model: MockModel, tmp_path: Path
) -> None:
    wall = Wall(tmp_path)
    project.environment |= wall.environment
    source = """
        workflow.set_budget(LIMIT)

        @workflow.step
        async def ask(context):
            call = dict(model="m", messages=[{"role": "user", "content": "hello"}], max_tokens=5)
            await context.llm.chat(**call)
    """
    # What one call holds while it is under way: a day has room for one, and not for one more.
    project.steps(source.replace("LIMIT", 'max_cost_usd="5.00"'))
    model.hold()
    measured = project.start("run")
    run = measured.until("effect.started", kind="llm")["run_id"]
    model.wait_for(1)
    held = project.show(run)["budget"]["held_usd"]
    # It began a day earlier than it ends: what it holds is given back to where it was taken from.
    wall.set(DAY)
    model.release()
    done = measured.finish()
    assert (done.code, done.run["budget"]["held_usd"]) == (0, "0.00"), done
    project.steps(source.replace("LIMIT", f'CostLimit("{held}", per="day", on_exceeded="halt")'))
    # Each day once: today, tomorrow, and then neither is new, whichever way the clock goes.
    for seconds, code in ((0, 0), (DAY, 0), (0, 4), (DAY, 4), (-DAY, 0), (-DAY, 4), (0, 4), (2 * DAY, 0)):
        wall.set(seconds)
        done = project.run()
        assert done.code == code, (seconds, done)
        if code:
            assert done.run["status"] == "halted", done


def test_a_call_at_midnight_is_charged_to_the_day_that_held_it(
    project: Project, model: MockModel, tmp_path: Path
) -> None:
    wall = Wall(tmp_path)
    project.environment |= wall.environment
    project.steps("""
        workflow.set_budget(CostLimit("1.00", per="day", on_exceeded="halt"))

        @workflow.step
        async def ask(context):
            call = dict(model="m", messages=[{"role": "user", "content": "hello"}], max_tokens=5)
            await context.llm.chat(**call)
    """)
    for ahead in (DAY, -DAY):
        wall.set(0)
        model.hold()
        running = project.start("run")
        run = running.until("effect.started", kind="llm")["run_id"]
        model.wait_for(1)
        # A kill while the clock is elsewhere: the lost call is charged where it was held, and made again.
        wall.set(ahead)
        running.kill()
        running.finish()
        model.release()
        done = project.call("runs", "resume", run, "--json")
        assert done.code == 0, done
        shown = project.call("runs", "show", run, "--json")
        assert shown.code == 0, shown
    with closing(sqlite3.connect(project.folder / ".wflo/wflo.db")) as store:
        accounts = store.execute("SELECT period_start, held_nanos FROM budgets WHERE period = 'day'").fetchall()
        (opened,) = store.execute("SELECT count(*) FROM holds WHERE state = 'open'").fetchone()
    assert len(accounts) == len(set(accounts)) == 3, "yesterday, today and tomorrow"
    assert [held for _, held in accounts] == [0, 0, 0] and opened == 0, accounts

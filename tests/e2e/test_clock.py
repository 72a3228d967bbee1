"""Wall clocks that are set while wflo runs, and between its processes. (What the engine's timers do then is
proven with a clock of its own in `crates/wflo-engine/tests/driver/clock.rs`.)"""

import json
import os
import struct
from datetime import datetime, timedelta
from pathlib import Path

import disk
from model import MockModel
from project import Project

DAY = 86_400


class Wall:
    """The wall clock of the commands that are started with its environment."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "clock"
        self.set(0)
        self.environment = {"LD_PRELOAD": str(disk.build(folder)), "CLOCK_FILE": str(self.file)}

    def set(self, seconds: int) -> None:
        # In place: running commands look at it by a mapping of the file.
        with open(self.file, "r+b" if self.file.exists() else "w+b") as file:
            file.write(struct.pack("<q", seconds))


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

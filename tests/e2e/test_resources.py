"""What a step's sandbox took of the machine: measured however it ends, and told where a run is looked at."""

import signal
import sys

import pytest
from project import Project, wait_for

BURN = """
    import time

    def burn(seconds=0.3, mib=60):
        held = bytearray(mib << 20)
        for at in range(0, len(held), 4096):
            held[at] = 1
        until = time.process_time() + seconds
        while time.process_time() < until:
            pass
        return len(held)
"""
HOLDS = """
    import os, time

    def holds(mib=60):
        held = bytearray(mib << 20)
        for at in range(0, len(held), 4096):
            held[at] = 1
        for _ in range(4):
            if os.fork() == 0:
                time.sleep(1000)
        print("holding", flush=True)
        time.sleep(1000)
"""
CODE = {
    "returns": """
    @workflow.step
    def work(context):
        return burn()
""",
    "fails": """
    @workflow.step
    def work(context):
        burn()
        raise ValueError("no")
""",
    "dies": """
    @workflow.step
    def work(context):
        import os
        burn()
        os._exit(3)
""",
    "children": """
    @workflow.step
    def work(context):
        import subprocess, sys
        code = "import time\\nb = bytearray(60 << 20)\\nwhile time.process_time() < 0.3: pass"
        return subprocess.run([sys.executable, "-c", code], check=True).returncode
""",
}


@pytest.mark.parametrize("how", CODE)
def test_a_step_is_measured_however_it_ends(project: Project, how: str) -> None:
    project.steps(BURN + CODE[how])
    done = project.run()
    [used, *_] = done.of("sandbox.used", step="work")
    assert used["cpu_ms"] >= 250, used
    if "memory_peak_bytes" in used:
        assert used["memory_peak_bytes"] >= 60 << 20, used
    types = [event["type"] for event in done.events]
    after = types[types.index("sandbox.used") + 1]
    assert after in {"step.succeeded", "step.failed", "step.lost"}, types
    [step] = done.run["steps"]
    assert step["resources"]["cpu_ms"] >= used["cpu_ms"], step
    shown = project.call("runs", "show", done.run["id"])
    assert "of a core" in shown.out, shown
    spans = project.call("runs", "trace", done.run["id"], "--json")
    assert '"wflo.sandbox.cpu_ms":' in spans.out, spans


def test_a_program_is_measured(project: Project) -> None:
    code = "import time\nwhile time.process_time() < 0.3: pass"
    done = project.call("run", "--json", "--", sys.executable, "-c", code)
    assert done.code == 0, done
    [used] = done.of("sandbox.used")
    assert used["cpu_ms"] >= 250, used


def test_what_attempts_took_is_added_up(project: Project) -> None:
    project.steps(
        BURN
        + """
    @workflow.step(retries=1)
    def work(context):
        burn(0.2, 1)
        raise ValueError("no")
"""
    )
    done = project.run()
    used = done.of("sandbox.used")
    assert len(used) == 2, done
    [step] = done.run["steps"]
    assert step["resources"]["cpu_ms"] == sum(event["cpu_ms"] for event in used), step


@pytest.mark.parametrize("backend", ["native", "none"])
def test_what_a_step_takes_now_is_told_in_another_terminal_while_it_runs(project: Project, backend: str) -> None:
    project.steps(
        HOLDS
        + """
    @workflow.step(timeout_seconds=600)
    def work(context):
        holds()
"""
    )
    running = project.start("run", "--sandbox", backend)
    run = running.until("run.started")["run_id"]
    running.until("log")

    def now() -> dict:
        [step] = project.show(run)["steps"]
        return step.get("now", {})

    wait_for(lambda: now().get("memory_bytes", 0) >= 60 << 20 and now().get("tasks", 0) >= 5, "it is looked at")
    shown = project.call("runs", "show", run)
    assert " now, " in shown.out and " tasks" in shown.out, shown
    supervised = {limit["limit"] for limit in now()["supervised"]}
    assert ("watched over by wflo" in shown.out) == bool(supervised), shown
    running.kill(signal.SIGSTOP)
    frozen = project.call("runs", "show", run, "--json")
    assert frozen.code == 0, "who does not answer keeps nobody waiting"
    running.kill(signal.SIGCONT)
    stopped = project.call("runs", "cancel", run)
    assert stopped.code == 0, stopped
    done = running.finish()
    [used] = done.of("sandbox.used")
    assert used["tasks_peak"] >= 5 and used["memory_peak_bytes"] >= 60 << 20, "what was seen stays as the peak"
    assert now() == {}
    assert not list(project.folder.glob(".wflo/engines/*.sock")), "nothing is left beside the lock"

"""Step code that speaks the worker protocol itself, through the real engine.

The runner is untrusted: whatever it writes into its socket ends at most its own step, with a code that
says so. The engine lives, nothing is done twice, and nothing of the step is left.
"""

import textwrap
from pathlib import Path

import pytest
from model import MockModel
from project import Done, Project

# Finds the runner's socket and writes frames of its own into it.
RAW = """
import json, socket, struct

def runner_socket():
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            if os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):
                copy = socket.socket(fileno=os.dup(number))
                if copy.family == socket.AF_UNIX:
                    return number
        except OSError:
            pass

FD = runner_socket()

def raw(data):
    os.set_blocking(FD, True)
    while data:
        data = data[os.write(FD, data):]

def frame(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    raw(struct.pack(">I", len(data)) + data)

def effect(**keys):
    frame({"type": "effect", "path": "9", "seq": 0, "kind": "now", "name": "now", "request": {}, **keys})
"""
STEP = """
@workflow.step(timeout_seconds={limit})
def hostile(context):
{code}
    return "came back"
"""
THEN_WAIT = "time.sleep(3600)"


def write(project: Project, code: str, limit: float = 120) -> None:
    project.steps(RAW + STEP.format(limit=limit, code=textwrap.indent(textwrap.dedent(code).strip(), "    ")))


def run(project: Project, code: str, limit: float = 120) -> Done:
    write(project, code, limit)
    return project.run()


BROKEN = {
    "is no JSON": ("frame(b'obey')", "WFLO-3030"),
    "is larger than any frame": ("raw(b'\\xff\\xff\\xff\\xff')", "WFLO-3031"),
    "is of an unknown type": ("frame({'type': 'obey'})", "WFLO-3030"),
    "is nested without end": ("frame(b'[' * 100_000 + b']' * 100_000)", "WFLO-3030"),
    "is nested inside a field": (
        'frame(b\'{"type":"log","message":"","fields":\' + b\'[\' * 9999 + b\']\' * 9999 + b\'}\')',
        "WFLO-3030",
    ),
    "is no UTF-8": ('frame(b\'{"type": "\\xff"}\')', "WFLO-3030"),
    "comes out of turn": ("frame({'type': 'definition', 'definition': {}, 'interpreter': 'x'})", "WFLO-3030"),
    "speaks of another version": ("frame({'type': 'hello', 'protocol': 99})", "WFLO-3030"),
    "has a place below zero": ("effect(seq=-1)", "WFLO-3030"),
    "has a kind that is none": ("effect(kind='shell')", "WFLO-3030"),
    "claims a place of the gateway's": ("effect(path='@gateway/0123')", "WFLO-3030"),
    "has a path that is none": ("effect(path='0/../1')", "WFLO-3030"),
    "has a path without end": ("effect(path='0' * 1_000_000)", "WFLO-3030"),
    "asks twice": ("effect(); effect()", "WFLO-3030"),
    "has too many under way": (
        "for n in range(5000): effect(seq=n, kind='sleep', name='sleep', request={'seconds': '99'})",
        "WFLO-3030",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_frame_that_breaks_the_protocol_ends_the_step_only(project: Project, what: str) -> None:
    code, expected = BROKEN[what]
    done = run(project, f"{code}\n{THEN_WAIT}")
    assert (done.code, done.run["status"], done.run["error"]["code"]) == (1, "failed", expected), done
    assert done.of("step.lost") == []
    assert project.processes() == []


def test_frames_that_mean_nothing_change_nothing(project: Project) -> None:
    done = run(
        project,
        """
        frame({"type": "effect_done", "path": "0", "seq": 0, "result": {"exit_code": 0}})
        frame({"type": "suspended", "on": []})
        frame({"type": "suspended", "on": [{"path": "0", "seq": 7}]})
        frame({"type": "log", "level": "info", "message": "x" * (7 << 20), "fields": {"more": "y" * 100_000}})
        frame({"type": "hello", "protocol": 1, "from": "nobody"})
        """,
    )
    assert (done.code, done.run["outputs"]) == (0, {"hostile": "came back"}), done
    assert len(done.out) < 1 << 20


def test_a_write_that_is_asked_for_twice_at_once_happens_once(project: Project) -> None:
    project.database("CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)")
    insert = """{"sql": "INSERT INTO log (what) VALUES ('once')"}"""
    done = run(project, f"for _ in range(20): effect(kind='db', name='execute', request={insert})\n{THEN_WAIT}")
    assert (done.code, done.run["error"]["code"]) == (1, "WFLO-3030"), done
    assert len(project.rows("SELECT * FROM log")) <= 1


def test_a_call_that_is_asked_for_twice_at_once_is_sent_and_paid_once(project: Project, model: MockModel) -> None:
    call = """{"model": "m", "messages": [{"role": "user", "content": "once"}], "max_tokens": 5}"""
    done = run(project, f"for _ in range(5): effect(kind='llm', name='chat', request={call})\n{THEN_WAIT}")
    assert (done.code, done.run["error"]["code"]) == (1, "WFLO-3030"), done
    assert model.asked()["once"] <= 1
    assert float(done.run["budget"]["held_usd"] if done.run["budget"] else 0) == 0


def test_a_forged_success_does_not_pass_an_approval(project: Project) -> None:
    project.database("CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)")
    insert = """{"sql": "INSERT INTO log (what) VALUES ('unseen')"}"""
    project.steps(
        f"""{RAW}
@workflow.step(approval_required=True)
def hostile(context):
    effect(kind="db", name="execute", request={insert})
    time.sleep(0.5)
    frame({{"type": "succeeded", "output": "forged", "state": {{}}}})
    time.sleep(3600)
"""
    )
    running = project.start("run")
    asked = running.until("approval.requested")
    # The write was asked about, or the output is: either way nothing of it is there before somebody says yes.
    running.until("run.waiting")
    assert project.rows("SELECT * FROM log") == []
    running.kill()
    running.finish()
    for approval in project.show(asked["run_id"])["approvals"]:
        project.call("approvals", "reject", approval)
    shown = project.show(asked["run_id"])
    assert shown["status"] == "rejected", shown
    assert project.rows("SELECT * FROM log") == []


# What would keep the engine waiting, if it waited, and for how many seconds it may. They run side by side: those that
# the time-out ends take it, and those that end before have time enough to come so far.
SLOW = {
    "closes its socket and goes on": (f"os.close(FD)\n{THEN_WAIT}", "WFLO-3008", 600),
    "sends half a frame": (f"raw(b'\\x00\\x00\\x10\\x00{{')\n{THEN_WAIT}", "WFLO-3002", 2),
    "asks and never listens": (f"for n in range(3000): effect(seq=n)\n{THEN_WAIT}", "WFLO-3002", 2),
    "stops itself": ("os.kill(os.getpid(), 19)", "WFLO-3002", 2),
    "closes everything": (f"os.closerange(0, 4096)\n{THEN_WAIT}", "WFLO-3008", 600),
}


def test_a_runner_that_hangs_is_ended_in_time(project: Project, wflo: Path, tmp_path: Path) -> None:
    others, running = {}, {}
    for number, (what, (code, _, limit)) in enumerate(SLOW.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        others[what] = Project(folder, wflo)
        write(others[what], code, limit)
        running[what] = others[what].start("run")
    for what, (_, expected, _) in SLOW.items():
        done = running[what].finish()
        assert done.run["error"]["code"] == expected, (what, done)
        assert others[what].processes() == [], what


def test_a_runner_that_never_listens_is_cancelled(project: Project) -> None:
    write(project, f"for n in range(3000): effect(seq=n)\n{THEN_WAIT}", limit=600)
    running = project.start("run")
    run = running.until("effect.finished")["run_id"]
    assert project.call("runs", "cancel", run).code in (0, 5, 75)
    done = running.finish()
    assert (done.code, done.run["status"]) == (5, "cancelled"), done
    assert project.processes() == []


def test_what_does_not_fit_a_frame_is_named(project: Project) -> None:
    project.steps("""
        @workflow.step(depends_on=[])
        def one(context):
            return "x" * (5 << 20)

        @workflow.step(depends_on=[])
        def two(context):
            return "x" * (5 << 20)

        @workflow.step(depends_on=["one", "two"])
        def both(context):
            return len(context.outputs)
    """)
    done = project.run()
    assert (done.code, done.run["error"]["code"]) == (1, "WFLO-3031"), done.err
    assert "outputs of its dependencies" in done.run["error"]["message"]

"""What a step can make wflo hold: bytes of its memory and of the disk, not seconds.

Peaks are the kernel's own (`VmHWM` of the engine), so nothing here depends on how fast it went.
"""

import textwrap
import threading
from pathlib import Path

import pytest
from project import Done, Project, Running
from test_hostile_runner import RAW, THEN_WAIT

MiB = 1 << 20


class Watched:
    """A run of which the engine's peak memory is known."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            try:
                status = Path(f"/proc/{self.running.pid}/status").read_text()
            except OSError:
                return
            peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
            self.peak = max(self.peak, *(int(peak) * 1024 for peak in peaks), 0)

    def finish(self) -> Done:
        done = self.running.finish()
        self._over.set()
        self._thread.join()
        return done


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def hostile(project: Project, code: str, limit: float = 120) -> None:
    body = textwrap.indent(textwrap.dedent(code).strip(), "    ")
    project.steps(f'{RAW}\n@workflow.step(timeout_seconds={limit})\ndef hostile(context):\n{body}\n    return "ok"\n')


def test_a_step_that_draws_without_end_is_refused_at_its_line(project: Project) -> None:
    project.write_settings('[storage]\njournal_limit = "16m"\n')
    project.steps("""
        @workflow.step(retries=3)
        async def greedy(context):
            for n in range(1000):
                await context.random.bytes(1 << 20)
    """)
    watched = Watched(project.start("run"))
    done = watched.finish()
    error = done.run["error"]
    assert (done.code, error["code"], error["place"]) == (1, "WFLO-3032", "workflow.py:7"), done
    assert "16m" in error["message"] and "journal_limit" in error["hint"]
    # The one that crosses the limit is kept, and no retry begins anew.
    assert len(done.of("effect.finished", error=None)) == 12
    assert len(done.of("step.failed")) == 1
    assert size_of(project.folder / ".wflo/blobs") < 18 * MiB


def test_a_refusal_is_the_same_after_a_crash(project: Project) -> None:
    project.write_settings('[storage]\njournal_limit = "4m"\n')
    project.steps("""
        @workflow.step()
        async def greedy(context):
            refused = None
            for n in range(6):
                try:
                    await context.random.bytes(1 << 20)
                except EffectError as error:
                    refused = refused or (n, error.code)
            print("refused", refused, flush=True)
            time.sleep(3600)
    """)
    running = project.start("run")
    run = running.until("log", message="refused (3, 'WFLO-3032')")["run_id"]
    running.kill()
    running.finish()
    before = [e for e in project.events(run) if e["type"] == "effect.finished"]
    resumed = project.start("runs", "resume", run)
    resumed.until("log", message="refused (3, 'WFLO-3032')")
    after = [e for e in project.events(run) if e["type"] == "effect.finished"]
    assert after == before
    assert [e.get("error", {}).get("code") for e in before] == [None] * 3 + ["WFLO-3032"] * 3
    resumed.kill()
    resumed.finish()


def test_code_that_does_not_listen_to_refusals_is_ended(project: Project) -> None:
    project.write_settings('[storage]\njournal_limit = "2m"\n')
    project.steps("""
        @workflow.step()
        async def deaf(context):
            while True:
                try:
                    await context.random.bytes(1 << 20)
                except EffectError:
                    pass
    """)
    done = project.run()
    assert (done.code, done.run["error"]["code"]) == (1, "WFLO-3032"), done
    assert len(done.of("effect.finished")) == 2 + 100


def test_large_answers_do_not_stay_in_memory(project: Project) -> None:
    """Neither while they come, nor on a resume that gives them out again."""
    project.database("CREATE TABLE t (a)")
    project.steps("""
        @workflow.step()
        async def many(context):
            total = 0
            for n in range(60):
                rows = await context.db.query("SELECT hex(zeroblob(2000000)) AS x, ? AS n", (n,))
                total += len(rows[0]["x"])
            await context.approve("go on?")
            return total
    """)
    running = project.start("run")
    first = Watched(running)
    asked = running.until("approval.requested")
    running.until("run.waiting")
    running.kill()
    first.finish()
    assert project.call("approvals", "approve", asked["approval_id"], "--no-drive").code == 0
    run = asked["run_id"]
    second = Watched(project.start("runs", "resume", run))
    done = second.finish()
    assert done.run["outputs"] == {"many": 240_000_000}, done
    # 240 MB were answered, twice.
    assert max(first.peak, second.peak) < 180 * MiB, (first.peak, second.peak)


UNREAD = {
    "random bytes": "effect(seq=n, kind='random', name='bytes', request={'kind': 'bytes', 'n': 1 << 20})",
    "rows": "effect(seq=n, kind='db', name='query', request={'sql': f'SELECT hex(zeroblob(2000000)), {n}'})",
}


@pytest.mark.parametrize("what", UNREAD)
def test_answers_that_nobody_reads_are_not_held(project: Project, what: str) -> None:
    project.database("CREATE TABLE t (a)")
    count = 150
    hostile(project, f"for n in range({count}): {UNREAD[what]}\n{THEN_WAIT}", limit=600)
    running = project.start("run")
    watched = Watched(running)
    run = running.until("effect.finished")["run_id"]
    for _ in range(count - 1):
        running.until("effect.finished")
    # 200 or 600 MB were answered, and each is held several times on its way to the disk.
    assert watched.peak < 450 * MiB, watched.peak
    assert project.call("runs", "cancel", run).code in (0, 5, 75)
    assert watched.finish().run["status"] == "cancelled"


def test_requests_that_wait_are_let_go(project: Project) -> None:
    code = "for n in range(100): effect(seq=n, kind='sleep', name='sleep', request={'seconds': '99', 'x': 'y' * 7_000_000})"
    hostile(project, f"{code}\n{THEN_WAIT}", limit=600)
    running = project.start("run")
    watched = Watched(running)
    for _ in range(100):
        run = running.until("effect.started")["run_id"]
    # 700 MB were asked.
    assert watched.peak < 350 * MiB, watched.peak
    assert project.call("runs", "cancel", run).code in (0, 5, 75)
    assert watched.finish().run["status"] == "cancelled"


def test_a_runner_that_writes_and_never_reads_does_not_stop_for_ever(project: Project) -> None:
    """Both sides have more to say than their sockets hold; one of them reads only at its end."""
    project.database("CREATE TABLE t (a)")
    ask = "SELECT length(?) AS n, hex(zeroblob(1000000)) AS x"
    hostile(
        project,
        f"""
        count, large = 60, "y" * 3_000_000
        for n in range(count):
            effect(seq=n, kind="db", name="query", request={{"sql": "{ask}", "params": [large]}})
        os.set_blocking(FD, True)
        data, answered = bytearray(), 0
        while answered < count:
            data += os.read(FD, 1 << 20)
            while len(data) >= 4 and len(data) - 4 >= int.from_bytes(data[:4], "big"):
                end = 4 + int.from_bytes(data[:4], "big")
                told = json.loads(bytes(data[4:end]))
                del data[:end]
                if told["type"] == "effect_result":
                    assert told["ok"]["rows"][0][0] == len(large), told
                    answered += 1
        """,
        limit=600,
    )
    watched = Watched(project.start("run"))
    done = watched.finish()
    assert done.run["outputs"] == {"hostile": "ok"}, done
    assert watched.peak < 500 * MiB, watched.peak


def test_an_event_is_no_place_for_data(project: Project) -> None:
    project.steps("""
        @workflow.step()
        async def loud(context):
            await context.emit("small", {"d": "x" * 200_000})
            await context.emit("large", {"d": "x" * 300_000})
    """)
    done = project.run()
    assert (done.code, done.run["error"]["code"], done.run["error"]["place"]) == (1, "WFLO-3034", "workflow.py:7"), done
    assert [e["name"] for e in done.of("emitted")] == ["small"]


CLAIMS = {
    "of a budget": ('{"type": "Sly", "code": "WFLO-4001", "message": "m"}', "Sly"),
    "of a bug": ('{"type": "WFLO-9001", "code": "WFLO-9001", "message": "m"}', "Exception"),
    "with an escape": ('{"type": "E\\u001b[2J", "code": "WFLO-4001\\u001b[2J", "message": "m"}', "Exception"),
    "without end": ('{"type": "E" * 100_000, "code": "C" * 100_000, "message": "m"}', "Exception"),
    "of the SDK": ('{"type": "StepExit", "code": "WFLO-3306", "message": "m"}', "WFLO-3306"),
}


@pytest.mark.parametrize("what", CLAIMS)
def test_a_runner_cannot_claim_an_error_of_the_engines(project: Project, what: str) -> None:
    claimed, kept = CLAIMS[what]
    hostile(project, f"frame({{'type': 'failed', 'error': {claimed}}})\n{THEN_WAIT}")
    done = project.run()
    assert (done.code, done.run["error"]["code"]) == (1, kept), done


def test_an_error_that_a_step_was_told_keeps_its_code(project: Project) -> None:
    project.steps("""
        @workflow.step()
        async def asks(context):
            await context.db.query("SELECT 1", database="nowhere")
    """)
    done = project.run()
    assert done.run["error"]["code"].startswith("WFLO-60"), done

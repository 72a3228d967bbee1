"""Files of the data directory that are damaged, gone, or may not be written: a named error, and every byte as
it was."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from model import MockModel
from project import Done, Project

COMMANDS = (["runs", "list"], ["runs", "show", "latest"], ["runs", "resume", "latest"], ["run"])


def killed(project: Project, model: MockModel) -> str:
    """A run that was killed while its store's log holds what it had done; its id."""
    model.hold()
    project.steps("""
        @workflow.step
        async def first(context):
            for number in range(20):
                await context.emit("made", {"number": number})
        @workflow.step
        async def second(context):
            done = await context.tools.run([sys.executable, "-c", "print('x' * 100_000)"])
            call = dict(model="m", messages=[{"role": "user", "content": "second"}], max_tokens=5)
            await context.llm.chat(**call)
            return len(done.stdout.strip())
    """)
    running = project.start("run", "--budget", "1")
    run = running.until("effect.started", kind="llm")["run_id"]
    model.wait_for(1)
    running.kill()
    assert running.process.wait() == -signal.SIGKILL
    model.release()
    return run


def contents(project: Project) -> dict[str, bytes]:
    """What is in the data directory, but for locks and SQLite's own index of the log."""
    root = project.folder / ".wflo"
    files = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".db-shm")
    return {str(path.relative_to(root)): path.read_bytes() for path in files if "lock" not in path.name}


def refused(project: Project, code: str, commands: tuple[list[str], ...] = COMMANDS) -> None:
    before = contents(project)
    assert before
    for command in commands:
        done = project.call(*command)
        assert done.code == 1 and code in done.err and "hint: " in done.err, (command, done)
        assert contents(project) == before, command


def flip(path: Path, at: int, bits: int = 0x10) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ bits]))


FRAME, HEADER = 4096 + 24, 32


def test_a_damaged_log_is_named_and_left_as_it_is(project: Project, model: MockModel) -> None:
    killed(project, model)
    log = project.folder / ".wflo/wflo.db-wal"
    assert log.stat().st_size > 20 * FRAME
    whole = log.read_bytes()
    for at in (HEADER + 2 * FRAME + 1000, HEADER + 2 * FRAME + 9, HEADER + 5 * FRAME + 20):
        log.write_bytes(whole)
        flip(log, at)
        refused(project, "WFLO-2005")
    log.write_bytes(whole)
    done = project.call("runs", "resume", "latest", "--json")
    assert (done.code, done.run["outputs"]["second"]) == (0, 100_000), done


def test_a_log_that_a_loss_of_power_tore_is_read_up_to_there(project: Project, model: MockModel) -> None:
    killed(project, model)
    log = project.folder / ".wflo/wflo.db-wal"
    content = log.read_bytes()
    salt = content[16:24]
    frames = [at for at in range(HEADER, len(content) - FRAME + 1, FRAME) if content[at + 8 : at + 16] == salt]
    # Of the last transaction everything but its first frame is there.
    commits = [at for at in frames if content[at + 4 : at + 8] != bytes(4)]
    first = commits[-2] + FRAME
    flip(log, first + 500)
    done = project.call("runs", "resume", "latest", "--json")
    assert (done.code, done.run["outputs"]["second"]) == (0, 100_000), done


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "gone"])
def test_a_damaged_value_is_named_and_left_as_it_is(project: Project, model: MockModel, how: str) -> None:
    run = killed(project, model)
    blobs = [path for path in (project.folder / ".wflo/blobs").rglob("*") if path.is_file() and path.stat().st_size]
    assert blobs
    whole = {path: path.read_bytes() for path in blobs}
    for path in blobs:
        match how:
            case "cut":
                path.write_bytes(whole[path][:-1])
            case "flipped":
                flip(path, len(whole[path]) // 2, 1)
            case "empty":
                path.write_bytes(b"")
            case "gone":
                path.unlink()
    damaged = {path: path.read_bytes() for path in blobs if path.exists()}
    done = project.call("runs", "resume", run)
    assert done.code == 1 and "WFLO-2005" in done.err and "hint: " in done.err, done
    assert {path: path.read_bytes() for path in blobs if path.exists()} == damaged
    for path, content in whole.items():
        path.write_bytes(content)
    # What was damaged is back: nothing was lost, also where the run had ended of it.
    ended = project.show(run)["status"] == "failed"
    done = project.call("runs", "retry" if ended else "resume", run, "--json")
    assert (done.code, done.run["outputs"]["second"]) == (0, 100_000), done


def test_a_data_directory_that_may_not_be_written_is_named(project: Project, model: MockModel) -> None:
    run = killed(project, model)
    before = contents(project)
    # Root may write wherever the modes say no; a mount that is read-only says it to everybody.
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    user = [] if os.getuid() == 0 else ["--map-root-user"]
    for command in (["run"], ["runs", "resume", run], ["runs", "list"]):
        done = Done(
            subprocess.run(
                [
                    "unshare",
                    *user,
                    "--mount",
                    "bash",
                    "-c",
                    script,
                    "-",
                    project.folder / ".wflo",
                    project.wflo,
                    *command,
                ],
                cwd=project.folder,
                env=project.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        )
        assert done.code == 1 and "WFLO-" in done.err and "hint: " in done.err, (command, done)
        assert "read-only" in done.err.lower() or "readonly" in done.err.lower(), (command, done)
        assert contents(project) == before, command
    done = project.call("runs", "resume", run, "--json")
    assert done.code == 0, done

"""The streams of a command of `wflo sandbox exec` that are no terminal: bytes pass, and nothing else does."""

import hashlib
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from project import DEADLINE, Project, wait_for


def command(project: Project, *argv: str) -> list[str]:
    return [str(project.wflo), "sandbox", "exec", "--", *argv]


def run(project: Project, *argv: str, **streams: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(project, *argv), cwd=project.folder, env=project.environment, check=False, timeout=DEADLINE, **streams
    )


@pytest.fixture
def bytes_of(tmp_path: Path) -> Path:
    file = tmp_path / "many"
    file.write_bytes(hashlib.shake_128(b"many").digest(20 << 20))
    return file


KIND = "import os, stat, sys; print(*[oct(stat.S_IFMT(os.fstat(n).st_mode)) for n in range(3)], file=sys.stderr)"
PIPE = oct(stat.S_IFIFO)


def test_files_come_and_go_as_bytes(project: Project, bytes_of: Path, tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    with bytes_of.open("rb") as given, out.open("wb") as taken, err.open("wb") as errors:
        done = run(project, "sh", "-c", f"python3 -c '{KIND}'; cat", stdin=given, stdout=taken, stderr=errors)
    assert done.returncode == 0
    assert out.read_bytes() == bytes_of.read_bytes()
    assert err.read_text().split() == [PIPE] * 3, "it holds no file"


def test_it_holds_no_socket_and_no_pipe_of_the_callers(project: Project, bytes_of: Path) -> None:
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs, bytes_of.open("rb") as given:
        done = run(
            project, "python3", "-c", KIND + "\nprint('said')", stdin=given, stdout=theirs, stderr=subprocess.PIPE
        )
        theirs.close()
        assert ours.recv(100) == b"said\n"
    assert done.stderr.split() == [PIPE.encode()] * 3
    # Who holds a pipe can write to the end that it reads from, and what it writes is read by who comes next.
    reading, writing = os.pipe()
    os.write(writing, b"hi\n")
    os.close(writing)
    try:
        code = "echo INJECTED > /proc/self/fd/0; true"
        done = run(project, "sh", "-c", code, stdin=reading, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert done.returncode == 0
        assert b"INJECTED" not in os.read(reading, 100)
    finally:
        os.close(reading)


def test_what_goes_to_one_file_keeps_its_order(project: Project, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "for n in 1 2 3 4 5 6 7 8 9; do echo o$n; echo e$n >&2; done"
    with log.open("wb") as taken:
        done = run(project, "sh", "-c", script, stdin=subprocess.DEVNULL, stdout=taken, stderr=subprocess.STDOUT)
    assert done.returncode == 0
    said = [line for line in log.read_text().split() if line[1:].isdigit()]
    assert said == [f"{kind}{n}" for n in range(1, 10) for kind in "oe"]


def test_output_that_cannot_be_written_is_no_success(project: Project) -> None:
    with open("/dev/full", "wb") as full:
        done = run(project, "echo", "hi", stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1 and b"No space left on device" in done.stderr, done
        done = run(
            project, "sh", "-c", "echo hi; exit 7", stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE
        )
        assert done.returncode == 7, done


def test_a_named_pipe_is_a_file(project: Project, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    opened = os.open(fifo, os.O_RDWR)
    try:
        code = "import os\ntry: os.fchmod(1, 0o666)\nexcept OSError: pass\nos.write(1, b'x')"
        done = run(project, "python3", "-c", code, stdin=subprocess.DEVNULL, stdout=opened)
        assert done.returncode == 0 and os.read(opened, 10) == b"x"
    finally:
        os.close(opened)
    assert stat.S_IMODE(fifo.stat().st_mode) == 0o600


def test_a_reader_that_is_gone_ends_it_as_a_broken_pipe_does(project: Project, tmp_path: Path) -> None:
    with (tmp_path / "err").open("wb") as errors:
        process = subprocess.Popen(
            command(project, "yes"), cwd=project.folder, env=project.environment, stdout=subprocess.PIPE, stderr=errors
        )
        assert process.stdout
        assert process.stdout.read(2) == b"y\n"
        process.stdout.close()
        assert process.wait(DEADLINE) == 128 + signal.SIGPIPE


def test_a_signal_to_wflo_ends_it(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with out.open("wb") as taken:
        process = subprocess.Popen(
            command(project, "sh", "-c", "echo here; exec sleep 300"),
            cwd=project.folder,
            env=project.environment,
            stdin=subprocess.DEVNULL,
            stdout=taken,
        )
    wait_for(lambda: out.read_bytes() == b"here\n", "it runs")
    process.terminate()
    assert process.wait(DEADLINE) == 128 + signal.SIGTERM
    assert not [line for line in project.processes() if "sleep" in line]


def test_closed_streams_are_nothing(project: Project) -> None:
    shell = '"$0" sandbox exec -- sh -c "cat; echo out; echo err >&2" <&- >&- 2>&-'
    done = subprocess.run(
        ["sh", "-c", shell, str(project.wflo)],
        cwd=project.folder,
        env=project.environment,
        check=False,
        timeout=DEADLINE,
    )
    assert done.returncode == 0

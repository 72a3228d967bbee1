"""A command of `wflo sandbox exec` on a person's terminal, and off one."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import termios
from pathlib import Path

import pytest
from project import DEADLINE, Project, wait_for
from terminal import Terminal, sit_down


def sitting(project: Project, *argv: str, flags: tuple[str, ...] = (), **env: str) -> Terminal:
    return Terminal(project, "sandbox", "exec", *flags, "--", *argv, **env)


def is_raw(screen: Terminal) -> bool:
    return not termios.tcgetattr(screen.master)[3] & termios.ICANON


SLEEP = f"sleep 3600.{os.getpid()}"
"""Sleeps as nobody else on this machine does."""


def sleeps() -> bool:
    words = SLEEP.replace(" ", "\0").encode() + b"\0"
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if line.read_bytes() == words:
                return True
    return False


def test_the_command_has_a_terminal_of_its_own(project: Project) -> None:
    script = 'test -t 0 && test -t 1 && test -t 2 && echo three; echo "$TERM"; stty size; read -r l < /dev/tty; echo "<$l>"; exit 7'
    with sitting(project, "bash", "-c", script) as screen:
        before = termios.tcgetattr(screen.master)
        screen.until("40 100")
        assert is_raw(screen)
        screen.type("typed")
        screen.until("<typed>")
        assert screen.end() == 7, screen.text
        assert "three" in screen.text and "xterm-256color" in screen.text, screen.text
        assert termios.tcgetattr(screen.master) == before, "the terminal is as it was"


def test_a_shell_has_job_control(project: Project) -> None:
    with sitting(project, "bash", "--norc", "-i", PS1="$ ", flags=("--env", "PS1")) as screen:
        screen.until("$ ")
        screen.type(SLEEP)
        wait_for(sleeps, "it sleeps")
        os.write(screen.master, b"\x1a")
        screen.until("Stopped")
        screen.type("bg; jobs")
        screen.until("Running")
        screen.type("fg")
        screen.until(SLEEP, times=5)
        screen.interrupt()
        screen.type("echo $((6 * 7)) after $?")
        screen.until("42 after 130")
        screen.type("exit 3")
        assert screen.end() == 3, screen.text
        assert "job control" not in screen.text and "process group" not in screen.text, screen.text
        assert not is_raw(screen)


def test_a_resize_reaches_the_command(project: Project) -> None:
    script = "trap 'stty size' WINCH; echo ready; while true; do read -r -t 1 line; done"
    with sitting(project, "bash", "-c", script) as screen:
        screen.until("ready")
        screen.resize(77, 33)
        screen.until("33 77")
        screen.interrupt()
        assert screen.end() == 130, screen.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_to_wflo_ends_the_command_and_leaves_a_plain_terminal(
    project: Project, number: signal.Signals
) -> None:
    script = f"trap '' TERM HUP INT QUIT; printf '\\033[?1049h\\033[?25l'; echo ready; {SLEEP}"
    with sitting(project, "bash", "-c", script) as screen:
        before = termios.tcgetattr(screen.master)
        screen.until("ready")
        wait_for(lambda: is_raw(screen), "raw")
        screen.process.send_signal(number)
        assert screen.end() == 128 + number, screen.text
        assert termios.tcgetattr(screen.master) == before, number
        assert b"\x1b[?1049l" in screen.raw and b"\x1b[?25h" in screen.raw, "what it had set is taken back"
        wait_for(lambda: not sleeps(), "nothing of it is left")


def test_a_terminal_that_goes_ends_the_command(project: Project) -> None:
    # Without a thread that reads it: a terminal that somebody still reads is not gone.
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [project.wflo, "sandbox", "exec", "--", "bash", "-c", f"trap '' HUP; echo ready; {SLEEP}"],
        cwd=project.folder,
        env={**project.environment, "TERM": "xterm"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=sit_down,
    )
    os.close(slave)
    seen = b""
    while b"ready" not in seen:
        seen += os.read(master, 4096)
    os.close(master)
    assert process.wait(DEADLINE) == 128 + signal.SIGHUP
    wait_for(lambda: not sleeps(), "nothing of it is left")


def test_all_that_the_command_says_is_shown_and_nothing_is_bounded(project: Project) -> None:
    with sitting(project, "sh", "-c", "seq 1 200000; echo the end") as screen:
        assert screen.end() == 0
        shown = [line for line in screen.text.splitlines() if re.fullmatch(r"\d+", line)]
        assert len(shown) == 200_000 and "the end" in screen.text


def test_what_would_type_or_read_never_reaches_the_persons_terminal(project: Project) -> None:
    script = r"printf 'before\033]52;c;bWFs\007\033[21t\033P$qm\033\\\005\033[31mred\033[0m after\n'"
    with sitting(project, "bash", "-c", script) as screen:
        assert screen.end() == 0, screen.text
        for hostile in (b"]52", b"[21t", b"P$q", b"\x05"):
            assert hostile not in screen.raw, screen.raw
        assert b"\x1b[31mred" in screen.raw and b"after" in screen.raw, screen.raw
    done = project.call("sandbox", "exec", "--", "sh", "-c", script)
    assert "\x1b]52" in done.out, "a pipe gets the bytes as they are"


def test_errors_that_go_elsewhere_go_there(project: Project) -> None:
    script = f'exec "$0" sandbox exec -- sh -c "test -t 1 && echo shown; test -t 2 || echo apart >&2" 2> {project.folder}/err'
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["sh", "-c", script, str(project.wflo)],
        cwd=project.folder,
        env={**project.environment, "TERM": "xterm"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=sit_down,
    )
    os.close(slave)
    seen = b""
    while b"shown" not in seen:
        seen += os.read(master, 4096)
    assert process.wait(DEADLINE) == 0
    os.close(master)
    assert "apart" in (project.folder / "err").read_text() and b"apart" not in seen


def test_a_pipe_stays_a_pipe(project: Project) -> None:
    done = project.call("sandbox", "exec", "--", "tty")
    assert (done.code, done.out) == (1, "not a tty\n"), done
    # A terminal to read from and a pipe to write to.
    master, slave = pty.openpty()
    script = "test -t 1 && echo terminal; test -t 0 && echo keyboard; echo over"
    process = subprocess.Popen(
        [project.wflo, "sandbox", "exec", "--", "sh", "-c", script],
        cwd=project.folder,
        env={**project.environment, "TERM": "xterm"},
        stdin=slave,
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=sit_down,
        text=True,
    )
    before = termios.tcgetattr(master)
    out, _ = process.communicate(timeout=DEADLINE)
    assert out == "over\n", "it holds no terminal of the person's"
    assert termios.tcgetattr(master) == before
    os.close(slave)
    os.close(master)


def test_a_command_that_cannot_be_executed_is_told_on_a_plain_terminal(project: Project) -> None:
    with sitting(project, "no-such-program") as screen:
        screen.until("cannot be executed in the sandbox")
        assert screen.end() == 127, screen.text
        assert not is_raw(screen)
        # Each line begins at the left: the terminal was given back before.
        assert re.search(rb"\r\n\S*hint:", screen.raw) and not re.search(rb"[^\r]\n", screen.raw), screen.raw

"""A program that is run as it is, on a person's terminal."""

import os
import pty
import signal
import subprocess
import termios
import textwrap

from model import MockModel
from project import DEADLINE, Project, wait_for
from terminal import Terminal, sit_down
from test_programs import agent, latest

ASK = "Approve? [y/n]"


def sitting(project: Project, *argv: str, flags: tuple[str, ...] = (), **env: str) -> Terminal:
    return Terminal(project, "run", *flags, "--", *argv, **env)


def is_raw(screen: Terminal) -> bool:
    return not termios.tcgetattr(screen.master)[3] & termios.ICANON


def test_a_program_has_a_terminal_of_its_own(project: Project) -> None:
    script = 'test -t 0 && test -t 1 && test -t 2 && echo three; echo "$TERM"; stty size; read -r line < /dev/tty; echo "<$line>"'
    with sitting(project, "bash", "-c", script) as screen:
        screen.until("40 100")
        assert is_raw(screen)
        screen.type("typed")
        screen.until("<typed>")
        assert screen.end() == 0, screen.text
        assert "three" in screen.text and "xterm-256color" in screen.text, screen.text
        assert not is_raw(screen), "the terminal is as it was"
    logged = [event["message"] for event in project.events("latest") if event["type"] == "log"]
    assert "three" in logged and "<typed>" in logged, logged


def test_a_resize_reaches_the_program(project: Project) -> None:
    script = "trap 'stty size' WINCH; echo ready; while true; do read -r -t 1 line; done"
    with sitting(project, "bash", "-c", script) as screen:
        screen.until("ready")
        screen.resize(77, 33)
        screen.until("33 77")
        screen.interrupt()
        assert screen.end() == 130, screen.text


def test_ctrl_c_is_the_programs(project: Project) -> None:
    with sitting(
        project, "bash", "-c", "trap 'echo caught; exit 5' INT; echo ready; while true; do read -r -t 1 x; done"
    ) as screen:
        screen.until("ready")
        screen.interrupt()
        screen.until("caught")
        assert screen.end() == 5, screen.text
    with sitting(project, "sleep", "3600") as screen:
        wait_for(lambda: is_raw(screen), "the program has the terminal")
        wait_for(lambda: any("sleep 3600" in line.replace("\0", " ") for line in project.processes()), "it runs")
        screen.interrupt()
        assert screen.end() == 130, screen.text
        assert not is_raw(screen)
    assert latest(project)["status"] == "failed"


def test_a_signal_to_wflo_leaves_a_run_and_a_plain_terminal(project: Project) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        with sitting(project, "bash", "-c", "printf '\\033[?1049h\\033[?25l'; echo ready; sleep 3600") as screen:
            screen.until("ready")
            wait_for(lambda: is_raw(screen), "raw")
            screen.process.send_signal(number)
            assert screen.end() == 75, screen.text
            assert not is_raw(screen), number
            assert b"\x1b[?1049l" in screen.raw and b"\x1b[?25h" in screen.raw, "what it had set is taken back"
            assert "wflo runs resume" in screen.text


def test_a_terminal_that_goes_leaves_a_run_that_can_be_resumed(project: Project) -> None:
    # Without a thread that reads it: a terminal that somebody still reads is not gone.
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [project.wflo, "run", "--", "bash", "-c", "echo ready; test -t 0 && sleep 3600; echo again"],
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
    run = latest(project)["id"]
    os.close(master)
    assert process.wait(DEADLINE) == 75
    done = project.call("runs", "resume", run)
    assert done.code == 0 and done.out == "ready\nagain\n", done


def test_what_would_type_or_read_never_reaches_the_persons_terminal(project: Project) -> None:
    script = textwrap.dedent(r"""
        printf 'before\033]52;c;bWFs\007\033[21t\033P$qm\033\\\005\033]0;a title\007\033[31mred\033[0m\n'
        printf '\0233\062\061t after\n'
    """)
    with sitting(project, "bash", "-c", script) as screen:
        assert screen.end() == 0, screen.text
        own = screen.raw[: screen.raw.index(b"after")]
        for hostile in (b"]52", b"[21t", b"P$q", b"\x05", b"\x9b"):
            assert hostile not in own, own
        assert b"\x1b[31mred" in own and b"\x1b]0;a title\x07" in own, own
    done = project.call("run", "--", "sh", "-c", script.replace("bash", "sh"))
    assert "\x1b]52" in done.out, "a pipe gets the bytes as they are"


def test_what_a_program_left_behind_is_taken_back(project: Project) -> None:
    with sitting(project, "printf", r"\033[?1049h\033[?1000h\033[?2004h\033[?25ldead") as screen:
        assert screen.end() == 0
        for mode in (b"?1049l", b"?1000l", b"?2004l", b"?25h"):
            assert b"\x1b[" + mode in screen.raw, mode


def test_a_question_is_put_on_the_same_terminal_and_the_program_goes_on(project: Project, model: MockModel) -> None:
    project.write_settings('\n[budget]\nmax_cost_usd = "0.0001"\naction_on_exceeded = "ask"\n')
    agent(
        project,
        r"""
        import threading, time, tty
        tty.setraw(0)
        sys.stdout.write("\x1b[?1049h\x1b[?25lscreen")
        sys.stdout.flush()
        said = ask("dear")
        key = os.read(0, 1).decode()
        sys.stdout.write(f"\x1b[?25h\x1b[?1049l{said} and {key!r}\r\n")
        """,
    )
    with sitting(project, "python3", "agent.py") as screen:
        screen.until(ASK)
        assert not is_raw(screen) and not model.entries
        assert screen.raw.rindex(b"\x1b[?1049l") < screen.raw.index(b"Approve?"), "the question is on the plain screen"
        screen.type("y")
        screen.until("How many USD more?")
        screen.type("1")
        screen.until("Comment?")
        screen.type("go on")
        wait_for(lambda: is_raw(screen), "the program has the terminal again")
        wait_for(lambda: screen.raw.rfind(b"\x1b[?1049h") > screen.raw.rfind(b"Comment?"), "and its screen")
        os.write(screen.master, b"k")
        screen.until("dear and 'k'")
        assert screen.end() == 0, screen.text
    assert len(model.entries) == 1


def test_who_leaves_a_question_at_the_terminal_is_told_where_it_waits(project: Project, model: MockModel) -> None:
    project.write_settings('\n[budget]\nmax_cost_usd = "0.0001"\naction_on_exceeded = "ask"\n')
    agent(project, 'print(ask("dear"))')
    with sitting(project, "python3", "agent.py") as screen:
        screen.until(ASK)
        asked = len(screen.raw)
        os.write(screen.master, b"\x04")
        screen.until("wflo approvals reject")
        wait_for(lambda: is_raw(screen), "the program has the terminal again")
        lines = screen.raw[asked:].split(b"\n")
        assert all(line.endswith(b"\r") for line in lines[:-1]), "whole lines, from the first column on"
        answered = project.call("approvals", "approve", "latest", "--amount", "1")
        assert answered.code == 0, answered
        screen.until("dear")
        assert screen.end() == 0, screen.text
    assert len(model.entries) == 1


def test_a_no_ends_the_run_and_gives_the_terminal_back(project: Project, model: MockModel) -> None:
    project.write_settings('\n[budget]\nmax_cost_usd = "0.0001"\naction_on_exceeded = "ask"\n')
    agent(project, 'ask("dear")')
    with sitting(project, "python3", "agent.py") as screen:
        screen.until(ASK)
        screen.type("n")
        screen.until("Comment?")
        screen.type("")
        assert screen.end() == 4, "a no to more money is the end of the run"
        assert not is_raw(screen)
    assert not model.entries


def test_a_question_from_before_is_answered_before_the_program_has_the_terminal(
    project: Project, model: MockModel
) -> None:
    project.write_settings('\n[budget]\nmax_cost_usd = "0.0001"\naction_on_exceeded = "ask"\n')
    agent(
        project,
        """
        print("begun", flush=True)
        print("heard:", ask("dear"), "and read:", input(), flush=True)
        """,
    )
    with sitting(project, "python3", "agent.py") as screen:
        screen.until(ASK)
        screen.interrupt()
        assert screen.end() == 75
        assert "changed is lost" in screen.text, screen.text
    with Terminal(project, "runs", "resume", "latest") as screen:
        screen.until(ASK)
        # Its program begins meanwhile, and waits to be heard.
        wait_for(lambda: any("agent.py" in line for line in project.processes()), "it runs")
        screen.type("y")
        screen.until("How many USD more?")
        assert not is_raw(screen) and "begun" not in screen.text
        screen.type("1")
        screen.until("Comment?")
        screen.type("")
        screen.until("begun")
        wait_for(lambda: is_raw(screen), "the program has the terminal")
        screen.type("typed")
        screen.until("dear and read: typed")
        assert screen.end() == 0, screen.text
    assert len(model.entries) == 1


def test_a_question_that_runs_out_of_time_gives_the_screen_back(project: Project, model: MockModel) -> None:
    project.write_settings("""
        [budget]
        max_cost_usd = "0.0001"
        action_on_exceeded = "ask"
        [approvals]
        budget_timeout_seconds = 2
    """)
    agent(
        project,
        r"""
        try:
            ask("dear")
        except SystemExit:
            print("lives on", flush=True)
        print("read", input())
        """,
    )
    with sitting(project, "python3", "agent.py") as screen:
        screen.until(ASK)
        screen.until("lives on")
        wait_for(lambda: is_raw(screen), "the program has the terminal again")
        screen.type("typed")
        screen.until("read typed")
        assert screen.end() == 0, screen.text
    assert not model.entries


def test_applying_asks_after_the_program(project: Project) -> None:
    with sitting(project, "sh", "-c", "echo made > made.txt", flags=("--apply", "--require-approval")) as screen:
        screen.until(ASK)
        assert not is_raw(screen)
        screen.type("y")
        screen.until("Comment?")
        screen.type("")
        assert screen.end() == 0, screen.text
    assert (project.folder / "made.txt").read_text() == "made\n"


def test_a_question_stands_on_a_page_of_its_own(project: Project) -> None:
    # Within margins of two rows the question would scroll away below the one that the program has drawn.
    drawn = r"\033[2J\033[37;1H? apply 1 file\033[38;1H  +report.md\033[39;40r\033[40;1H\033]10;#000\007\033[8mdrawn"
    script = f"echo made > made.txt; printf '{drawn}'"
    with sitting(project, "sh", "-c", script, flags=("--apply", "--require-approval")) as screen:
        screen.until(ASK)
        after = screen.raw[screen.raw.index(b"drawn") : screen.raw.index(ASK.encode())]
        page = b"\x1b[40;1H" + b"\r\n" * 40 + b"\x1b[H\x1b[J"
        for plain in (b"\x1b[r", b"\x1b[0m", b"\x1b]110\x1b\\"):
            assert plain in after[: after.index(page)], (plain, after)
        assert b"made.txt" in after[after.index(page) :], after
        screen.type("n")
        screen.until("Comment?")
        screen.type("")
        assert screen.end() == 3, screen.text


def test_nothing_of_the_persons_terminal_is_inside(project: Project) -> None:
    script = "import fcntl, os, termios, sys\n" + textwrap.dedent("""
        try:
            fcntl.ioctl(0, termios.TIOCSTI, b"x")
            print("typed")
        except OSError as error:
            print("refused", error.errno)
        print("session", os.getsid(0) == os.getpid(), os.tcgetpgrp(0) == os.getpgrp())
        print(sorted(os.listdir("/dev/pts")))
    """)
    project.write("look.py", script)
    with sitting(project, "python3", "look.py") as screen:
        assert screen.end() == 0, screen.text
        assert "refused" in screen.text and "typed" not in screen.text, screen.text
        assert "session True True" in screen.text and "['ptmx']" in screen.text, screen.text


def test_what_came_of_an_answer_is_said_before_the_next_question(project: Project, model: MockModel) -> None:
    project.write_settings('\n[budget]\nmax_cost_usd = "0.0001"\naction_on_exceeded = "ask"\n')
    agent(project, "[ask(word) for word in ('one', 'two', 'three', 'four')]")
    with sitting(project, "python3", "agent.py") as screen:
        screen.until(ASK)
        screen.type("")
        screen.until("y or n", 1)
        screen.until(ASK, 2)
        assert "missing" in screen.text and "at least" not in screen.text, screen.text
        for line, asked in (("y", "How many USD more?"), ("", "Comment?"), ("", ASK)):
            before = len(screen.text)
            screen.type(line)
            wait_for(lambda at=before, asked=asked: asked in screen.text[at:], asked)
        between = screen.text[screen.text.index("Comment?") : screen.text.rindex(ASK)]
        assert "approved by" in between and "raised by $" in between, screen.text
        assert between.index("raised by") < between.index("? raise the run budget"), between
        screen.type("n")
        screen.until("Comment?", 2)
        screen.type("")
        assert screen.end() == 4, screen.text

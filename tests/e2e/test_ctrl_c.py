"""Ctrl-C where something does not answer, and where it was to be ignored from the start."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud import Cloud
from project import DEADLINE, Project, wait_for
from terminal import Terminal

SOON = 8.0
"""What ends at once ends within this; whatever hangs here does so for longer."""


@pytest.fixture
def cloud(tmp_path: Path, project: Project) -> Iterator[Cloud]:
    with Cloud(project.wflo, tmp_path / "cloud") as cloud:
        project.environment |= cloud.env
        yield cloud
        cloud.process.send_signal(signal.SIGCONT)


def ended_soon(process: subprocess.Popen) -> int:
    began = time.monotonic()
    code = process.wait(DEADLINE)
    assert time.monotonic() - began < SOON, "it waited for what does not answer"
    return code


def test_the_second_ends_a_run_whose_sandbox_does_not_answer(project: Project, cloud: Cloud) -> None:
    project.write_settings('[sandbox]\nbackend = "e2b"\n')
    project.steps("""
        @workflow.step
        def work(context):
            print("here", flush=True)
            time.sleep(3600)
    """)
    running = project.start("run")
    running.until("log")
    [sandbox] = cloud.living()
    cloud.process.send_signal(signal.SIGSTOP)
    running.kill(signal.SIGINT)
    wait_for(lambda: "Again to stop at once" in running.err, "it says so")
    running.kill(signal.SIGINT)
    assert ended_soon(running.process) == 75, running.err
    done = running.finish()
    assert f"sandbox {sandbox} of the cloud is left behind" in done.err, done


def test_the_second_ends_a_command_whose_sandbox_does_not_answer(project: Project, cloud: Cloud) -> None:
    command = ("sandbox", "exec", "--sandbox", "e2b", "--", "sh", "-c", "echo here; sleep 3600")
    with Terminal(project, *command) as screen:
        screen.until("here")
        [sandbox] = cloud.living()
        cloud.process.send_signal(signal.SIGSTOP)
        screen.process.send_signal(signal.SIGINT)
        screen.until("Again to leave it behind")
        screen.process.send_signal(signal.SIGINT)
        assert ended_soon(screen.process) == 130, screen.text
        screen.until(f"sandbox {sandbox} of the cloud is left behind")


def test_one_is_answered_at_once_while_changes_are_kept(project: Project, cloud: Cloud) -> None:
    """Reading so much out of a sandbox elsewhere takes long."""
    command = ("sandbox", "exec", "--sandbox", "e2b", "--workspace", ".", "--keep", "--")
    with Terminal(project, *command, "sh", "-c", "head -c 100000000 /dev/urandom > big; echo over") as screen:
        screen.until("over")
        began = time.monotonic()
        # The first may still be the command's.
        while screen.process.poll() is None and time.monotonic() - began < SOON:
            screen.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                screen.process.wait(0.5)
        assert screen.end() == 130, screen.text
        assert time.monotonic() - began < SOON and "Kept" not in screen.text, screen.text
        assert "stopped before the changes were kept" in screen.text, screen.text


def in_the_background(project: Project, *argv: str) -> subprocess.Popen:
    """As a script without job control starts what is behind `&`: SIGINT and SIGQUIT are ignored."""

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)

    return subprocess.Popen(
        [project.wflo, *argv],
        cwd=project.folder,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=ignore,
        text=True,
    )


@pytest.mark.parametrize("how", ["exec", "program", "run"])
def test_what_was_ignored_at_the_start_stays_ignored(project: Project, how: str) -> None:
    script = "echo ready; sleep 2; echo over"
    if how == "run":
        project.steps("""
            @workflow.step
            def work(context):
                print("ready", flush=True)
                time.sleep(2)
                print("over", flush=True)
        """)
        started = in_the_background(project, "run", "--json")
    else:
        command = ("sandbox", "exec") if how == "exec" else ("run",)
        started = in_the_background(project, *command, "--", "sh", "-c", script)
    assert started.stdout
    seen = ""
    while "ready" not in seen:
        line = started.stdout.readline()
        assert line, seen
        seen += line
    for number in (signal.SIGINT, signal.SIGQUIT) if how != "run" else (signal.SIGINT,):
        os.kill(started.pid, number)
    rest, _ = started.communicate(timeout=DEADLINE)
    assert started.returncode == 0 and "over" in rest, (started.returncode, seen + rest)

"""Where tricks run. A backend is one file here and one line in `ALL`."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen, TimeoutExpired
from typing import Protocol

from attack import Host, Ran, Setup

HERE = Path(__file__).resolve().parents[1]
DEADLINE = 240
MOST = 4 << 20
"""Bytes of output that are looked at."""


class Backend(Protocol):
    name: str
    user: int
    """Who owns what the attacker is given."""

    stated: dict[str, str]
    """Tricks that it does not hold, each with why that is so."""
    unjudged: dict[str, str]
    """Tricks whose program cannot tell whether it got anything, each with why that is so."""

    def missing(self) -> str | None:
        """Why it cannot be tried here."""

    def run(self, trick: str, host: Host, setup: Setup) -> Ran: ...


def program(trick: str, host: Host, setup: Setup, python: str = "/usr/bin/python3") -> list[str]:
    """The command that is the attack: this suite's two modules and the trick's, and nothing else of the host's."""
    texts = [(name, (HERE / f"{name}.py").read_text()) for name in ("attack", "syscalls")]
    texts.append(("trick", (HERE / "tricks" / f"{trick}.py").read_text()))
    code = f"""import sys, types
for name, text in {texts!r}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
module.Trick().inside(*sys.argv[2:])"""
    return [python, "-I", "-c", code, host.token, *setup.args]


def carry_out(command: list[str], env: dict[str, str], setup: Setup, cwd: Path, **more: object) -> Ran:
    """Runs it to its end, or to the deadline; its output is read to the end and kept in part."""
    began = time.monotonic()
    stdin = DEVNULL if setup.stdin is None else setup.stdin
    stdout, stderr = (PIPE, STDOUT) if setup.stdout is None else (setup.stdout, PIPE)
    if setup.terminal:
        stdin = stdout = stderr = setup.terminal[1]
    with Popen(
        command, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd, pass_fds=setup.fds, **more
    ) as process:
        try:
            shown = setup.terminal[0] if setup.terminal else (process.stdout or process.stderr).fileno()
            text = read(process, shown, setup.killed_at.encode())
        except TimeoutExpired:
            process.kill()
            text = b"(the deadline of the suite)"
        code = process.wait()
    return Ran(code, text.decode(errors="replace"), time.monotonic() - began)


def read(process: Popen[bytes], shown: int, killed_at: bytes) -> bytes:
    """Its output, to the end of the last writer or, where somebody outlives it, to its own."""
    end, kept = time.monotonic() + DEADLINE, b""
    poll = select.poll()
    poll.register(shown, select.POLLIN)
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutExpired(process.args, DEADLINE)
        if poll.poll(min(left, 0.5) * 1000):
            if not (more := os.read(shown, 1 << 16)):
                return kept
            kept = (kept + more)[-MOST:]
            if killed_at and killed_at in kept:
                process.kill()
        elif process.poll() is not None:
            return kept


def everyone() -> list[Backend]:
    from backends import docker, e2b, gvisor, native

    natives: list[Backend] = [native.Native("root"), native.Native("user"), native.Native("user", "build")]
    return [*natives, docker.Docker(), gvisor.Gvisor(), e2b.E2b()]

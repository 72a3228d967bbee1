"""What a trick is, and what it needs on either side of the wall.

A file in `tricks/` holds one class, `Trick`. `prepare` runs on the host and says what the program is given;
`inside` is the program, which is hostile; `escaped` judges from outside. The program calls `won` where its trick has
worked: that prints a token which nothing else knows. Where success leaves a trace on the host, `escaped` looks for
that instead. The same program runs once without a sandbox, where it must succeed (`control`): a check that cannot
fail proves nothing.

This file and the trick's are what runs inside: the standard library alone, and nothing of the host's.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path


class Setup:
    """What a program is started with."""

    def __init__(self, *args: str) -> None:
        self.args = list(args)
        self.env: dict[str, str] = {}
        """Of the sandbox's maker, not of the program."""
        self.fds: tuple[int, ...] = ()
        """Open in the sandbox's maker."""
        self.stdin: int | None = None
        self.stdout: int | None = None
        """Where output goes that is not looked at."""
        self.terminal: tuple[int, int] | None = None
        """A terminal, as the person at it has it and as programs have it: all three streams are on it."""
        self.killed_at = ""
        """What the program says when its maker is to be killed by SIGKILL."""
        self.workspace: Path | None = None
        """Shown copy-on-write, at its own path."""
        self.read_only: list[Path] = []
        """Shown at their own paths."""
        self.writable: list[Path] = []
        """The same, and written to."""
        self.limits: dict[str, str] = {}
        self.project: Path | None = None
        """The program is a step of a run on this project; its changes are shown, and brought in without a yes."""
        self.steps = 1
        """So many steps beside each other."""
        self.step = ""
        """What else the definition says of a step: arguments of its decorator."""
        self.runs: list[str] = []
        """The project is run once with each word, and the program's last arguments are that and its step's name."""
        self.options: list[str] = []
        """Of `wflo run`."""
        self.shown: list[list[str]] = []
        """What is asked of wflo after each run, and printed."""
        self.hosts: list[str] = []
        """Hosts that may be reached, as rules."""
        self.settings = ""
        """More of a project's `[sandbox]`, and what follows it."""
        self.kept = False
        """Whether what is changed in the workspace is to be brought out."""


class Ran:
    """How it went."""

    def __init__(self, code: int, output: str, seconds: float, kept: Path | None = None) -> None:
        self.code, self.output, self.seconds, self.kept = code, output, seconds, kept

    def __repr__(self) -> str:
        return f"exit {self.code} after {self.seconds:.1f} s, kept {self.kept}\n{self.output[-4000:]}"


class Host:
    """The outside, for one attempt: a folder of the attacker's user, secrets, and what must be ended after it."""

    def __init__(self, folder: Path, user: int, runs_as: int) -> None:
        self.folder, self.user, self.runs_as = folder, user, runs_as
        self.token = "won-" + secrets.token_hex(8)
        self.marker = "marker-" + secrets.token_hex(8)
        self.last: list = []

    def secret(self, name: str = "secret") -> Path:
        """A file whose only content is the token: who prints that has read it."""
        return self.file(name, self.token)

    def file(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        self.give(path)
        return path

    def dir(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        self.give(path)
        return path

    def give(self, path: Path) -> None:
        """Makes the attacker's user own it, with the folders above it."""
        if self.runs_as == 0:
            while path != self.folder.parent:
                os.chown(path, self.user, self.user, follow_symlinks=False)
                path = path.parent

    def serve(self, address: str, answer) -> int:
        """Listens at an address of this host for the attempt, and gives each connection to `answer`; the port."""
        listener = socket.create_server((address, 0))
        self.finally_(listener.close)

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(client,), daemon=True).start()

        def talk(client: socket.socket) -> None:
            with client:
                answer(client)

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    def certified(self, address: str) -> ssl.SSLContext:
        """A certificate for an address, by an authority whose own is in `authority/ca.pem`."""
        folder = self.dir("authority")

        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a company", "-keyout", "ca.key",
                "-out", "ca.pem")  # fmt: skip
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=host", "-keyout", "host.key", "-out", "host.csr")
        (folder / "names").write_text(f"subjectAltName=IP:{address}\n")
        openssl("x509", "-req", "-in", "host.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-extfile", "names",
                "-out", "host.crt")  # fmt: skip
        for path in folder.iterdir():
            self.give(path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "host.crt", folder / "host.key")
        return context

    def finally_(self, end) -> None:
        """Called after the attempt, the last one first."""
        self.last.append(end)

    def close(self) -> None:
        while self.last:
            self.last.pop()()

    def processes(self) -> list[int]:
        """Who has the marker among its arguments, whatever it has become."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                pass
        return [pid for pid in found if pid != os.getpid()]

    def end_processes(self) -> None:
        """Ends those that have the marker."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def eventually(self, holds, seconds: float = 10) -> bool:
        """Waits for it, with a deadline."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True


class Trick:
    """One way to get out, to look out, or to take more than was given."""

    area = "kernel"
    wrapper: tuple[str, ...] = ()
    """What the control is started through; it keeps the rest of the machine out of it."""
    as_root = False
    """The control needs the powers of root, or those of a user namespace's."""
    no_control = ""
    """Why there can be none."""
    only_where = ""
    """What the control needs of this machine, said where it does not succeed."""

    def prepare(self, host: Host) -> Setup:
        return Setup()

    def inside(self, *args: str) -> None:
        raise NotImplementedError

    def escaped(self, host: Host, ran: Ran) -> str | None:
        """What came out, if something did."""
        return next((line for line in ran.output.splitlines() if host.token in line), None)

    def outside(self, host: Host, setup: Setup) -> None:
        """Before the control starts: what a sandbox's maker would have done for it."""


def settings_of_model(port: int, output: str = "0", context: int = 8192, most: int = 1) -> str:
    """The settings of a model `m` at a provider on this port, whose key is in `A_KEY`; prices are for a million tokens."""
    return f"""
[providers.local]
dialect = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_key_env = "A_KEY"
[models.m]
provider = "local"
input = "1000"
output = "{output}"
context_tokens = {context}
max_output_tokens = {most}
"""


def runner_socket() -> int:
    """In a step: the descriptor that leads out to the engine."""
    for number in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):
                with socket.socket(fileno=os.dup(number)) as copy:
                    if copy.family == socket.AF_UNIX:
                        return number
    raise RuntimeError("there is no socket")


def won(what: object = "") -> None:
    """The trick has worked."""
    print(sys.argv[1], what, flush=True)


def tried(what: str, attempt) -> None:
    """Makes one attempt: it has worked when nothing is raised."""
    try:
        found = attempt()
    except OSError as error:
        print(what, error, flush=True)
    else:
        won(f"{what}: {found}")

"""wflo on a terminal, as a person sits at one: what it shows, what is typed."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import subprocess
import termios
import threading
import time

from project import DEADLINE, Project

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\r")


def sit_down() -> None:
    """Makes standard input the terminal that Ctrl-C comes from. Whoever runs the tests under `nohup`, or in the background
    of a script, ignores what a terminal sends, and what they start would inherit that."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


class Terminal:
    """`wflo ARGUMENTS` on a terminal of its own. Use as a context manager."""

    def __init__(self, project: Project, *arguments: str, columns: int = 100, rows: int = 40, **env: str) -> None:
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (rows, columns))
        self.raw = b""
        self.process = subprocess.Popen(
            [project.wflo, *arguments],
            cwd=project.folder,
            env={**project.environment, "TERM": "xterm-256color", **env},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=sit_down,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # EIO: everybody on the other side has gone.
        with contextlib.suppress(OSError):
            while more := os.read(self.master, 65536):
                self.raw += more

    @property
    def text(self) -> str:
        """What was shown, without what moves the cursor or colours."""
        return CONTROL.sub("", self.raw.decode(errors="replace"))

    def until(self, wanted: str, times: int = 1) -> None:
        """Waits until it has been shown so often."""
        deadline = time.monotonic() + DEADLINE
        while True:
            # Asked first: what an ended command had still to say is in the text by then.
            ended = self.process.poll() is not None and not self._reader.is_alive()
            if self.text.count(wanted) >= times:
                return
            assert not ended, f"ended with {self.process.returncode} without {wanted!r}:\n{self.text}"
            assert time.monotonic() < deadline, f"no {wanted!r} in:\n{self.text}"
            threading.Event().wait(0.02)

    def until_any(self, wanted: str, other: tuple[str, int]) -> None:
        """Waits until it has been shown, or the other so often."""
        deadline = time.monotonic() + DEADLINE
        while wanted not in self.text and self.text.count(other[0]) < other[1]:
            assert time.monotonic() < deadline, f"neither {wanted!r} nor {other!r} in:\n{self.text}"
            threading.Event().wait(0.02)

    def type(self, line: str) -> None:
        os.write(self.master, line.encode() + b"\r")

    def interrupt(self) -> None:
        """Ctrl-C, as the terminal makes a signal of it."""
        os.write(self.master, b"\x03")

    def resize(self, columns: int, rows: int) -> None:
        termios.tcsetwinsize(self.master, (rows, columns))

    def end(self) -> int:
        """Waits for its end; the exit code."""
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        os.close(self.master)


def left_waiting(project: Project, *arguments: str) -> str:
    """A run that waits for a decision and whose process was killed."""
    running = project.start("run", *arguments)
    running.until("run.waiting")
    running.kill()
    running.finish()
    return str(running.seen[0]["run_id"])

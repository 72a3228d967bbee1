"""Holding the terminal that the sandbox was started at, and writing to it what it would answer or obey"""

import fcntl
import os
import termios
import tty

from attack import Host, Ran, Setup
from attack import Trick as Base

OBEYED = (b"\x1b]52;c;b3duZWQ=\x07", b"\x1b[21t", b"\x1bP$qm\x1b\\", b"\x05")
"""The clipboard is set; the title, a setting and the answerback are sent as if they had been typed."""


class Trick(Base):
    area = "terminal"

    def prepare(self, host: Host) -> Setup:
        master, self.slave = os.openpty()
        tty.setraw(self.slave)
        if host.runs_as == 0:
            os.fchown(self.slave, host.user, host.user)
        host.finally_(lambda: (os.close(master), os.close(self.slave)))
        setup = Setup()
        setup.terminal = (master, self.slave)
        return setup

    def inside(self) -> None:
        for number in range(3):
            print("terminal", number, *which(number), flush=True)
        for name in ("/dev/tty", "/proc/self/fd/0", "/proc/1/fd/0", "/proc/1/fd/1"):
            try:
                opened = os.open(name, os.O_RDWR | os.O_NOCTTY)
                print("terminal", name, *which(opened), flush=True)
                fcntl.ioctl(opened, termios.TIOCSTI, b"!")
            except OSError as error:
                print(name, error, flush=True)
        for sequence in OBEYED:
            os.write(1, sequence)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        held = [line for line in ran.output.splitlines() if line.startswith("terminal") and told(self.slave) in line]
        obeyed = [sequence for sequence in OBEYED if sequence.decode() in ran.output]
        return f"{held} {obeyed}" if held or obeyed else None


def which(descriptor: int) -> tuple[int, int]:
    """The terminal behind a descriptor, whatever it is called."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_rdev


def told(descriptor: int) -> str:
    return " {} {}".format(*which(descriptor))

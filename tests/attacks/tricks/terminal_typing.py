"""Typing into the terminal that the sandbox was started from (TIOCSTI)"""

import fcntl
import os
import termios
import tty

from attack import Host, Ran, Setup
from attack import Trick as Base


class Trick(Base):
    area = "terminal"
    only_where = "dev.tty.legacy_tiocsti is 0, and this is not root"

    def prepare(self, host: Host) -> Setup:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(slave, False)
        self.slave = slave
        host.finally_(lambda: (os.close(self.master), os.close(slave)))
        setup = Setup()
        setup.stdin = slave
        return setup

    def inside(self) -> None:
        for request in (termios.TIOCSTI, termios.TIOCSTI | 1 << 40):
            try:
                fcntl.ioctl(0, request, b"!")
            except (OSError, OverflowError) as error:
                print(error)
        for attempt in (
            lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 1),
            lambda: fcntl.ioctl(os.open("/dev/tty", os.O_RDWR), termios.TIOCSTI, b"!"),
            lambda: fcntl.ioctl(0, 0x541C, b"\x0b"),
        ):
            try:
                attempt()
            except OSError as error:
                print(error)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        try:
            return repr(os.read(self.slave, 10))
        except BlockingIOError:
            return None

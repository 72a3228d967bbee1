"""Daemons that ignore every signal, left behind at the time-out"""

import os
import signal
import time

from attack import Host, Ran, Setup
from attack import Trick as Base


def get_away() -> None:
    """Twice forked, in a session of its own, deaf."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    os.closerange(0, 256)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        time.sleep(0.1)
    os._exit(0)


class Trick(Base):
    area = "survivors"
    wrapper = ("timeout", "--signal=KILL", "1")

    def prepare(self, host: Host) -> Setup:
        host.finally_(host.end_processes)
        setup = Setup(host.marker)
        setup.limits["timeout"] = "1s"
        return setup

    def inside(self, marker: str) -> None:
        for _ in range(3):
            get_away()
        time.sleep(20)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        host.eventually(lambda: not host.processes())
        return f"{len(host.processes())} processes" if host.processes() else None

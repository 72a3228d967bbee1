"""Daemons left behind by a program that ends at once"""

import os
import time

from attack import Host, Ran, Setup
from attack import Trick as Base


class Trick(Base):
    area = "survivors"

    def prepare(self, host: Host) -> Setup:
        host.finally_(host.end_processes)
        return Setup(host.marker)

    def inside(self, marker: str) -> None:
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.closerange(0, 256)
                    time.sleep(30)
                os._exit(0)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        host.eventually(lambda: not host.processes())
        return f"{len(host.processes())} processes" if host.processes() else None

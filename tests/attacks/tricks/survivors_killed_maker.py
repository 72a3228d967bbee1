"""A tree whose maker is killed by SIGKILL"""

import os
import time

from attack import Host, Ran, Setup
from attack import Trick as Base


class Trick(Base):
    area = "survivors"
    wrapper = ("sh", "-c", '"$@" & wait', "sh")

    def prepare(self, host: Host) -> Setup:
        host.finally_(host.end_processes)
        setup = Setup(host.marker)
        setup.killed_at = "ready"
        return setup

    def inside(self, marker: str) -> None:
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                time.sleep(30)
        print("ready", flush=True)
        time.sleep(30)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        host.eventually(lambda: not host.processes())
        return f"{len(host.processes())} processes" if host.processes() else None

"""Signals, limits and priorities of processes outside"""

import os
import signal
import subprocess

from attack import Host, Ran, Setup
from attack import Trick as Base


class Trick(Base):
    area = "proc"

    def prepare(self, host: Host) -> Setup:
        user = None if host.user == os.geteuid() else host.user
        self.victim = subprocess.Popen(["sleep", "600"], user=user)
        host.finally_(lambda: (self.victim.kill(), self.victim.wait()))
        return Setup(str(self.victim.pid), str(os.getpid()))

    def inside(self, victim: str, *parents: str) -> None:
        for pid in (victim, *parents):
            for attempt in (
                lambda pid=pid: os.kill(int(pid), signal.SIGKILL if pid == victim else 0),
                lambda pid=pid: os.setpriority(os.PRIO_PROCESS, int(pid), 19 if pid == victim else 0),
            ):
                try:
                    attempt()
                except OSError as error:
                    print(error)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        return None if self.victim.poll() is None else "killed"

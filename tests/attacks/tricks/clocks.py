"""How long the host has been up, which tells one machine from another"""

import time
from pathlib import Path

from attack import Host, Setup, won
from attack import Trick as Base


def uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


class Trick(Base):
    area = "leaks"

    def prepare(self, host: Host) -> Setup:
        # Once in its life this host has been up for as long as wflo tells every program, and nobody can tell them apart.
        while abs(uptime() - 86_400) < 180:
            time.sleep(1)
        return Setup(str(uptime()))

    def inside(self, host: str) -> None:
        if abs(uptime() - float(host)) < 60 or abs(time.monotonic() - float(host)) < 60:
            won(f"up for {uptime():.0f} s")

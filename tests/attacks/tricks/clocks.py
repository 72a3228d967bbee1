"""How long the host has been up, which tells one machine from another"""

from pathlib import Path

from attack import Host, Setup, won
from attack import Trick as Base


def uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


class Trick(Base):
    area = "leaks"

    def prepare(self, host: Host) -> Setup:
        return Setup(str(uptime()))

    def inside(self, host: str) -> None:
        import time

        if abs(uptime() - float(host)) < 60 or abs(time.monotonic() - float(host)) < 60:
            won(f"up for {uptime():.0f} s")

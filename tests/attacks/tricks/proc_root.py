"""The host's tree through the `root`, `cwd` and `fd` links of other processes"""

import os
from pathlib import Path

from attack import Host, Setup
from attack import Trick as Base


class Trick(Base):
    area = "proc"

    def prepare(self, host: Host) -> Setup:
        return Setup(str(host.secret()))

    def inside(self, path: str) -> None:
        for pid in os.listdir("/proc"):
            for link in ("root", "cwd/..", "cwd/../..", "fd/0", "map_files"):
                try:
                    print(Path(f"/proc/{pid}/{link}{path}").read_text())
                except OSError:
                    pass
        for other in ("/host", "/stage", "/tpl/../host", "/proc/1/root/../host"):
            try:
                print(Path(other + path).read_text())
            except OSError:
                pass

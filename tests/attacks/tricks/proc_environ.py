"""The environment of the sandbox's maker, read in /proc"""

import os
from pathlib import Path

from attack import Host, Setup
from attack import Trick as Base


class Trick(Base):
    area = "leaks"

    def prepare(self, host: Host) -> Setup:
        setup = Setup()
        setup.env["A_KEY"] = host.token
        return setup

    def inside(self) -> None:
        print(dict(os.environ))
        for pid in filter(str.isdigit, os.listdir("/proc")):
            for name in ("environ", "mountinfo"):
                try:
                    text = Path(f"/proc/{pid}/{name}").read_bytes()
                    print(text.decode(errors="replace"))
                except OSError:
                    pass

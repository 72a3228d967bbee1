"""More memory than the limit, in a process and its children"""

import os
import time

from attack import Host, Setup, won
from attack import Trick as Base

LIMIT, EACH, CHILDREN = 64 << 20, 40 << 20, 5


class Trick(Base):
    area = "bombs"

    def prepare(self, host: Host) -> Setup:
        setup = Setup()
        setup.limits["memory"] = str(LIMIT)
        return setup

    def inside(self) -> None:
        alive = []
        for _ in range(CHILDREN):
            pid = os.fork()
            if pid == 0:
                held = os.urandom(EACH)
                time.sleep(2)
                os._exit(0 if held else 1)
            alive.append(pid)
        time.sleep(1)
        if all(os.waitpid(pid, 0)[1] == 0 for pid in alive):
            won(f"{CHILDREN * EACH >> 20} MiB under a limit of {LIMIT >> 20} MiB")

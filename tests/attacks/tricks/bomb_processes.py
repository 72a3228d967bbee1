"""More processes than the limit"""

import os
import time

from attack import Host, Setup, won
from attack import Trick as Base

LIMIT, WANTED = 64, 200


class Trick(Base):
    area = "bombs"

    def prepare(self, host: Host) -> Setup:
        setup = Setup()
        setup.limits["pids"] = str(LIMIT)
        return setup

    def inside(self) -> None:
        alive = []
        try:
            while len(alive) < WANTED:
                pid = os.fork()
                if pid == 0:
                    time.sleep(60)
                    os._exit(0)
                alive.append(pid)
            won(f"{len(alive)} processes under a limit of {LIMIT}")
        except OSError as error:
            print(len(alive), error)
        for pid in alive:
            os.kill(pid, 9)
            os.waitpid(pid, 0)

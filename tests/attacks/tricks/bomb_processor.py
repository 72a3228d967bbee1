"""More processor time than the share"""

import os
import time

from attack import Host, Setup, won
from attack import Trick as Base

SECONDS, SHARE = 2.0, 0.2


class Trick(Base):
    area = "bombs"

    def prepare(self, host: Host) -> Setup:
        setup = Setup()
        setup.limits["cpus"] = str(SHARE)
        return setup

    def inside(self) -> None:
        began = time.monotonic()
        for _ in range(2):
            if os.fork() == 0:
                while time.monotonic() < began + SECONDS:
                    pass
                os._exit(0)
        while True:
            try:
                os.wait()
            except ChildProcessError:
                break
        used, passed = os.times().children_user + os.times().children_system, time.monotonic() - began
        # A share of what has passed, and what a period gives at once.
        if used > SHARE * passed + 0.3:
            won(f"{used:.2f} s in {passed:.2f} s of a share of {SHARE}")
        print(used, passed)

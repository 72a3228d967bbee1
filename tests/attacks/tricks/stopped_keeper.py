"""The process that keeps the time, stopped or killed by the program"""

import os
import signal
import time

from attack import Host, Setup, won
from attack import Trick as Base


class Trick(Base):
    area = "survivors"
    wrapper = ("timeout", "--foreground", "--signal=KILL", "1")

    def prepare(self, host: Host) -> Setup:
        setup = Setup()
        setup.limits["timeout"] = "1s"
        return setup

    def inside(self) -> None:
        keeper = os.getppid() or 1
        # Outside a stop is enough, and the keeper has to live to be continued.
        others = (signal.SIGUSR1, signal.SIGTERM, signal.SIGSEGV, signal.SIGKILL) if keeper == 1 else ()
        for number in (signal.SIGSTOP, *others):
            try:
                os.kill(keeper, number)
            except OSError as error:
                print(error)
        time.sleep(8)
        won("eight times as long as allowed")
        os.kill(keeper, signal.SIGCONT)

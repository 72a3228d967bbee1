"""More threads than the limit on processes"""

import threading

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
        over, alive = threading.Event(), []
        try:
            while len(alive) < WANTED:
                thread = threading.Thread(target=over.wait)
                thread.start()
                alive.append(thread)
            won(f"{len(alive)} threads under a limit of {LIMIT}")
        except RuntimeError as error:
            print(len(alive), error)
        over.set()

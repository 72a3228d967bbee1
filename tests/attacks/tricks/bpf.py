"""A map of bpf(2)"""

import ctypes

from attack import Trick as Base
from attack import tried
from syscalls import call


class Trick(Base):
    only_where = "only root may, and not in every container"

    def inside(self) -> None:
        # BPF_MAP_CREATE of an array of one.
        given = (ctypes.c_uint32 * 32)(2, 4, 4, 1)
        tried("bpf", lambda: call("bpf", 0, ctypes.byref(given), 72))

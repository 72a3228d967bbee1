"""A counter of perf_event_open(2)"""

import ctypes

from attack import Trick as Base
from attack import tried
from syscalls import call


class Trick(Base):
    only_where = "kernel.perf_event_paranoid keeps it from this user"

    def inside(self) -> None:
        # PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK, of user space only.
        given = ctypes.create_string_buffer(128)
        given[0:1], given[4:5], given[8:9] = b"\x01", b"\x80", b"\x01"
        given[40:41] = b"\x60"
        tried("perf_event_open", lambda: call("perf_event_open", given, 0, -1, -1, 0))

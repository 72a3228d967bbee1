"""A shared memory segment of the host, by its number"""

import ctypes

from attack import Host, Setup, tried
from attack import Trick as Base
from syscalls import LIBC, call

PRIVATE = 0


class Trick(Base):
    area = "leaks"

    def prepare(self, host: Host) -> Setup:
        segment = call("shmget", PRIVATE, 4096, 0o1666)
        at = call("shmat", segment, 0, 0)
        ctypes.memmove(at, host.token.encode() + b"\0", len(host.token) + 1)
        host.finally_(lambda: (LIBC.shmdt(ctypes.c_void_p(at)), LIBC.shmctl(segment, 0, None)))
        return Setup(str(segment))

    def inside(self, segment: str) -> None:
        tried("shmat", lambda: ctypes.string_at(call("shmat", int(segment), 0, 0o10000)).decode())

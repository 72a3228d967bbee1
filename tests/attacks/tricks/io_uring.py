"""A ring of io_uring, whose operations no filter sees"""

import ctypes

from attack import Trick as Base
from attack import tried
from syscalls import call


class Trick(Base):
    only_where = "kernel.io_uring_disabled is set, or a container's filter refuses it"

    def inside(self) -> None:
        tried("io_uring", lambda: call("io_uring_setup", 4, ctypes.create_string_buffer(120)))

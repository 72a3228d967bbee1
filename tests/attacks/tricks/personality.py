"""A personality with executable data and no random addresses, and a local descriptor table"""

import ctypes

from attack import Trick as Base
from attack import tried
from syscalls import X86, call


class Trick(Base):
    def inside(self) -> None:
        tried("personality", lambda: call("personality", 0x0440000))
        if X86:
            tried("modify_ldt", lambda: call("modify_ldt", 0, ctypes.create_string_buffer(64), 64))

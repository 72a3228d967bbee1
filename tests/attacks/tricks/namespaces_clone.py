"""New namespaces by the flags of clone(2), the upper half of the argument used too"""

import os

from attack import Trick as Base
from attack import tried
from syscalls import NEWNET, NEWPID, NEWUSER, call

CHILD_ENDS = 17


class Trick(Base):
    def inside(self) -> None:
        for flags in (NEWUSER, NEWUSER | NEWPID, NEWUSER | NEWNET, NEWUSER | 1 << 40):

            def attempt(flags: int = flags) -> int:
                pid = call("clone", flags | CHILD_ENDS, 0, 0, 0, 0)
                if pid == 0:
                    os._exit(0)
                os.waitpid(pid, 0)
                return pid

            tried(f"clone {flags:x}", attempt)

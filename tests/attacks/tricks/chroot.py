"""Another root directory, the first half of the way out of one"""

from attack import Trick as Base
from attack import tried
from syscalls import call


class Trick(Base):
    as_root = True

    def inside(self) -> None:
        tried("chroot", lambda: call("chroot", b"/tmp"))
        tried("pivot_root", lambda: call("pivot_root", b"/tmp", b"/tmp"))

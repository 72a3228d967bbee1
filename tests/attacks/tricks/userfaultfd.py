"""A page fault held open by userfaultfd(2), to win races in the kernel"""

from attack import Trick as Base
from attack import tried
from syscalls import call


class Trick(Base):
    only_where = "vm.unprivileged_userfaultfd keeps it from this user"

    def inside(self) -> None:
        tried("userfaultfd", lambda: call("userfaultfd", 0))

"""New namespaces by unshare(2), in which one would be root"""

from attack import Trick as Base
from attack import tried
from syscalls import NEWCGROUP, NEWIPC, NEWNET, NEWNS, NEWPID, NEWTIME, NEWUSER, NEWUTS, call


class Trick(Base):
    def inside(self) -> None:
        for kind in (NEWUSER, NEWNS, NEWPID, NEWNET, NEWIPC, NEWUTS, NEWCGROUP, NEWTIME, NEWUSER | NEWNS):
            tried(f"unshare {kind:x}", lambda kind=kind: call("unshare", kind))

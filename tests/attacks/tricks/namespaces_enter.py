"""The host's namespaces, or those of pid 1, entered by setns(2)"""

import os

from attack import Host, Setup, tried
from attack import Trick as Base
from syscalls import call


class Trick(Base):
    as_root = True

    def prepare(self, host: Host) -> Setup:
        return Setup("1")

    def outside(self, host: Host, setup: Setup) -> None:
        setup.args = ["self"]

    def inside(self, pid: str) -> None:
        for kind in ("mnt", "net", "ipc", "uts"):

            def attempt(kind: str = kind) -> int:
                return call("setns", os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY), 0)

            tried(kind, attempt)

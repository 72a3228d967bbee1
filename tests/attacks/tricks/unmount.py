"""What covers /proc, taken away by umount(2)"""

from pathlib import Path

from attack import Host, Setup, tried
from attack import Trick as Base
from syscalls import call


class Trick(Base):
    wrapper = ("unshare", "--mount")
    as_root = True

    def prepare(self, host: Host) -> Setup:
        return Setup("/proc/keys", "/proc/sys", "/dev", "/etc")

    def outside(self, host: Host, setup: Setup) -> None:
        setup.args = [str(host.dir("place"))]

    def inside(self, *places: str) -> None:
        if Path(places[0]).is_dir():
            call("mount", b"none", places[0].encode(), b"tmpfs", 0, b"")
        for place in places:
            tried(place, lambda at=place: call("umount2", at.encode(), 2))

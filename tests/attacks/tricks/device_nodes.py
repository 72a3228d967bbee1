"""Devices: made by mknod(2), or there already"""

import os
import stat

from attack import Trick as Base
from attack import tried, won

THERE = (
    "mem",
    "kmem",
    "port",
    "kmsg",
    "fuse",
    "kvm",
    "net/tun",
    "loop-control",
    "sda",
    "vda",
    "tty",
    "console",
    "hpet",
)


class Trick(Base):
    area = "privileges"
    only_where = "this process may make no devices, and none that matter are there"

    def inside(self) -> None:
        for name, kind, number in (("memory", stat.S_IFCHR, (1, 1)), ("disk", stat.S_IFBLK, (8, 0))):
            path = f"/tmp/{name}-{os.getpid()}"
            tried(f"mknod {name}", lambda p=path, k=kind, n=number: os.mknod(p, 0o600 | k, os.makedev(*n)))
            if os.path.exists(path):
                os.unlink(path)
        for name in THERE:
            try:
                os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK))
            except OSError:
                continue
            won(name)

"""Settings of the kernel: core_pattern, modprobe, sysrq-trigger, uevent_helper"""

import os

from attack import Trick as Base
from attack import tried

PLACES = (
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname",
    "/proc/sys/vm/drop_caches", "/proc/sys/user/max_user_namespaces", "/proc/sys/fs/binfmt_misc/register",
    "/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/proc/sys/net/ipv4/ip_forward",
)  # fmt: skip


class Trick(Base):
    area = "proc"
    only_where = "only root may write any of them"

    def inside(self) -> None:
        for place in PLACES:
            # Opened and never written: outside it would work.
            tried(place, lambda at=place: os.close(os.open(at, os.O_WRONLY)))

"""What /proc and /sys tell of the host: keys, kernel addresses, boot parameters, disks, memory"""

import os
from pathlib import Path

from attack import Trick as Base
from attack import won

PLACES = (
    "/proc/cmdline", "/proc/keys", "/proc/key-users", "/proc/kallsyms", "/proc/kcore", "/proc/kmsg",
    "/proc/interrupts", "/proc/timer_list", "/proc/sched_debug", "/proc/vmallocinfo",
    "/proc/acpi", "/proc/scsi", "/proc/irq", "/proc/bus", "/sys/class", "/sys/firmware", "/sys/kernel", "/sys/block", "/run", "/var/run",
    "/etc/shadow", "/etc/machine-id", "/root", "/boot", "/mnt", "/srv", "/opt",
)  # fmt: skip


def begins(place: str) -> bytes:
    with open(place, "rb") as file:
        return file.read(64)


class Trick(Base):
    area = "proc"

    def inside(self) -> None:
        for place in PLACES:
            try:
                found = os.listdir(place) if Path(place).is_dir() else begins(place)
            except OSError as error:
                found = None
                print(error)
            if found:
                won(f"{place}: {found[:3]!r}")

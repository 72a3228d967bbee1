"""A program that the kernel would start as root when a cgroup becomes empty (release_agent), and other group files"""

import os
from pathlib import Path

from attack import Trick as Base
from attack import tried
from syscalls import call


class Trick(Base):
    area = "privileges"
    wrapper = ("unshare", "--mount")
    as_root = True
    only_where = "no cgroup file can be written by this process"

    def inside(self) -> None:
        for kind, options in ((b"cgroup2", b""), (b"cgroup", b"memory"), (b"cgroup", b"none,name=systemd")):
            place = f"/tmp/groups-{os.getpid()}"
            os.makedirs(place, exist_ok=True)
            try:
                call("mount", b"none", place.encode(), kind, 0, options)
            except OSError as error:
                print(error)
        # Opened and never written: outside it would work.
        for folder in ("/sys/fs/cgroup", place):
            for name in ("release_agent", "cgroup.procs", "notify_on_release", "devices.allow"):
                for path in list(Path(folder).rglob(name))[:3] if Path(folder).is_dir() else []:
                    tried(str(path), lambda at=path: os.close(os.open(at, os.O_WRONLY)))
        call("umount2", place.encode(), 2) if os.path.ismount(place) else None
        os.rmdir(place)

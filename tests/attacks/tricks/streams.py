"""Files of the caller that are the program's streams: opened to others, set to run as their owner, emptied, overwritten"""

import os
import stat

from attack import Host, Ran, Setup
from attack import Trick as Base

LINE = "a line from before\n"


class Trick(Base):
    area = "files"

    def prepare(self, host: Host) -> Setup:
        key, log = host.file("key", "secret\n"), host.file("log", LINE)
        for path in (key, log):
            os.utime(path, (1_000_000_000, 1_000_000_000))
        setup = Setup()
        setup.stdin = os.open(key, os.O_RDONLY)
        setup.stdout = os.open(log, os.O_WRONLY | os.O_APPEND)
        for opened in (setup.stdin, setup.stdout):
            host.finally_(lambda opened=opened: os.close(opened))
        return setup

    def inside(self) -> None:
        for way in (
            lambda: os.fchmod(0, 0o666),
            lambda: os.fchmod(1, 0o6755),
            lambda: os.ftruncate(1, 0),
            lambda: os.pwrite(1, b"X", 0),
            lambda: os.utime(0, (0, 0)),
            lambda: os.setxattr(0, "user.note", b"was here"),
            lambda: os.write(os.open("/proc/self/fd/0", os.O_RDWR), b"written"),
            lambda: os.truncate("/proc/self/fd/1", 0),
        ):
            try:
                way()
            except OSError as error:
                print(error)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        key, log = host.folder / "key", host.folder / "log"
        for path, begins in ((key, "secret\n"), (log, LINE)):
            mode = stat.filemode(path.stat().st_mode)
            if mode != "-rw-------":
                return f"{path.name} {mode}"
            if not path.read_text().startswith(begins):
                return f"{path.name} is {path.read_text()[:80]!r}"
        if key.stat().st_mtime != 1_000_000_000 or os.listxattr(key):
            return f"the key's {key.stat()} {os.listxattr(key)}"
        return None

"""A program that runs as its owner, left in a folder of the host that can be written to"""

import contextlib
import os
import stat
from pathlib import Path

from attack import Host, Ran, Setup
from attack import Trick as Base
from syscalls import X86, call

BITS = stat.S_ISUID | stat.S_ISGID
AT_FDCWD, O_TMPFILE, MKNODAT, LINKAT = -100, 0o20000000 | os.O_DIRECTORY, (259, 33), (265, 37)
OPENAT2, FCHMODAT2 = 437, 452


class Trick(Base):
    area = "files"

    def prepare(self, host: Host) -> Setup:
        folder = host.dir("shared")
        folder.chmod(0o777)
        setup = Setup(str(folder))
        setup.writable = [folder]
        return setup

    def inside(self, folder: str) -> None:
        os.chdir(folder)
        os.umask(0)
        ways = {
            "chmod": lambda name: os.chmod(written(name), 0o4755),
            "chmod-group": lambda name: os.chmod(written(name), 0o2755),
            "chmod-both": lambda name: os.chmod(written(name), 0o6777),
            "fchmod": by_descriptor,
            "fchmodat2": lambda name: call(FCHMODAT2, AT_FDCWD, os.fsencode(written(name)), 0o4755, 0),
            "upper-half": lambda name: call(FCHMODAT2, AT_FDCWD, os.fsencode(written(name)), 1 << 32 | 0o4755, 0),
            "open": lambda name: os.open(name, os.O_CREAT | os.O_WRONLY, 0o4755),
            "open2": open2,
            "nameless": nameless,
            "mknod": lambda name: call(MKNODAT[not X86], AT_FDCWD, os.fsencode(name), stat.S_IFREG | 0o4755, 0),
            "capability": lambda name: os.setxattr(written(name), "security.capability", CAPABLE),
        }
        if X86:
            ways["creat"] = lambda name: call(85, os.fsencode(name), 0o4755)
            ways["old-open"] = lambda name: call(2, os.fsencode(name), os.O_CREAT | os.O_WRONLY, 0o4755)
        for name, way in ways.items():
            try:
                way(name)
            except OSError as error:
                print(name, error)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        found = list((host.folder / "shared").iterdir())
        assert found, ran
        for path in found:
            mode = path.lstat().st_mode
            if mode & BITS:
                return f"{path.name} {stat.filemode(mode)}"
            with contextlib.suppress(OSError):
                return f"{path.name} {os.getxattr(path, 'security.capability')!r}"
        return None


CAPABLE = bytes.fromhex("0100000280000000000000000000000000000000")
"""As the kernel keeps the capability to become any user with a file."""


def written(name: str) -> str:
    Path(name).write_text("#!/bin/sh\n")
    return name


def by_descriptor(name: str) -> None:
    with open(written(name), "rb") as file:
        os.fchmod(file.fileno(), 0o4755)


def open2(name: str) -> None:
    how = (os.O_CREAT | os.O_WRONLY).to_bytes(8, "little") + (0o4755).to_bytes(8, "little") + bytes(8)
    call(OPENAT2, AT_FDCWD, os.fsencode(name), how, len(how))


def nameless(name: str) -> None:
    made = os.open(".", O_TMPFILE | os.O_WRONLY, 0o4755)
    call(LINKAT[not X86], AT_FDCWD, os.fsencode(f"/proc/self/fd/{made}"), AT_FDCWD, os.fsencode(name), 0x400)

"""Pipes, sockets and device nodes for apply to make in the project, or to read from without end"""

import contextlib
import os
import socket
import stat
from pathlib import Path

from attack import Host, Ran, Setup
from attack import Trick as Base


class Trick(Base):
    area = "apply"
    no_control = "the copy that tricks are compared with refuses such files, too"

    def prepare(self, host: Host) -> Setup:
        host.file("project/data/input.txt", "one", 0o644)
        setup = Setup()
        setup.project = host.dir("project")
        return setup

    def inside(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink("data/input.txt")
        with contextlib.suppress(OSError):
            os.mkfifo("data/input.txt")
        with contextlib.suppress(OSError):
            os.mkfifo("pipe")
        with contextlib.suppress(OSError):
            socket.socket(socket.AF_UNIX).bind("socket")
        for name, kind, device in (("zero", stat.S_IFCHR, (1, 5)), ("disk", stat.S_IFBLK, (8, 0))):
            with contextlib.suppress(OSError):
                os.mknod(name, kind | 0o666, os.makedev(*device))
        Path("honest.txt").write_text("honest")

    def escaped(self, host: Host, ran: Ran) -> str | None:
        project = host.folder / "project"
        assert (project / "honest.txt").exists(), ran
        assert "(the deadline of the suite)" not in ran.output, ran
        for path in project.rglob("*"):
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                return f"{path.name} {stat.filemode(mode)}"
        return None

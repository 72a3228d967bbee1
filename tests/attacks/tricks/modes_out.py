"""Programs with the setuid and setgid bits left in the workspace, brought out as they are"""

import os
import stat
from pathlib import Path

from attack import Host, Ran, Setup
from attack import Trick as Base


class Trick(Base):
    area = "files"

    def prepare(self, host: Host) -> Setup:
        setup = Setup(str(host.dir("workspace")))
        setup.workspace = host.dir("workspace")
        setup.kept = True
        return setup

    def inside(self, folder: str) -> None:
        os.chdir(folder)
        for name, mode in (("tool", 0o4755), ("group", 0o2755)):
            Path(name).write_text("#!/bin/sh\n")
            try:
                os.chmod(name, mode)
            except OSError as error:
                print(error)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        assert ran.kept and (ran.kept / "tool").exists(), ran
        for path in ran.kept.rglob("*"):
            mode = path.lstat().st_mode
            if mode & (stat.S_ISUID | stat.S_ISGID) and not path.is_dir():
                return f"{path.name} {stat.filemode(mode)}"
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                return f"{path.name} {stat.filemode(mode)}"
        return None

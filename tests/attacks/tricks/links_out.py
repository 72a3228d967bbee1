"""Links left in the workspace, followed by who brings its files out"""

import os
from pathlib import Path

from attack import Host, Ran, Setup
from attack import Trick as Base


class Trick(Base):
    area = "files"

    def prepare(self, host: Host) -> Setup:
        secret = host.secret()
        setup = Setup(str(secret), str(host.dir("workspace")))
        setup.workspace = host.dir("workspace")
        setup.kept = True
        return setup

    def inside(self, secret: str, folder: str) -> None:
        os.chdir(folder)
        os.symlink(secret, "report.txt")
        os.symlink("../secret", "relative.txt")
        Path("honest.txt").write_text("honest")

    def escaped(self, host: Host, ran: Ran) -> str | None:
        assert ran.kept, ran
        assert (ran.kept / "honest.txt").read_text() == "honest"
        for folder, _, names in os.walk(ran.kept):
            for path in (Path(folder, name) for name in names):
                if path.is_file() and not path.is_symlink() and host.token in path.read_text(errors="replace"):
                    return str(path.relative_to(ran.kept))
        return None

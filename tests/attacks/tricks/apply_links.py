"""A folder where the project has a link out, and a link where it has a folder, for apply to write through"""

import os
import shutil
from pathlib import Path

from attack import Host, Ran, Setup
from attack import Trick as Base


class Trick(Base):
    area = "apply"

    def prepare(self, host: Host) -> Setup:
        host.file("project/docs/page.txt", "a page", 0o644)
        outside = host.dir("outside")
        (host.folder / "project/out").symlink_to("../outside")
        setup = Setup(str(outside))
        setup.project = host.dir("project")
        return setup

    def inside(self, outside: str) -> None:
        os.unlink("out")
        os.mkdir("out")
        Path("out/planted").write_text("owned")
        shutil.rmtree("docs")
        os.symlink(outside, "docs")
        Path("honest.txt").write_text("honest")

    def escaped(self, host: Host, ran: Ran) -> str | None:
        assert (host.folder / "project/honest.txt").exists(), ran
        found = [path.name for path in (host.folder / "outside").iterdir()]
        return f"written outside: {found}" if found else None

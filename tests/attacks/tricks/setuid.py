"""A program with the setuid bit: one in the workspace, and one made inside"""

import os
import shutil
import subprocess
from pathlib import Path

from attack import Host, Setup, won
from attack import Trick as Base

ASKS = "import os; print(os.getresuid(), os.getresgid())"


class Trick(Base):
    area = "privileges"
    wrapper = ("setpriv", "--reuid", "64214", "--regid", "64214", "--clear-groups", "--")
    only_where = "only root can make a program that is root's"

    def prepare(self, host: Host) -> Setup:
        folder = host.dir("workspace")
        folder.chmod(0o777)
        for name in ("as-root", "as-roots-group"):
            path = Path(shutil.copy(os.path.realpath("/usr/bin/python3"), folder / name))
            path.chmod(0o4755 if name == "as-root" else 0o2755)
        setup = Setup(str(folder))
        setup.workspace = folder
        return setup

    def inside(self, folder: str) -> None:
        own = Path(folder) / "mine"
        try:
            shutil.copy("/usr/bin/python3", own)
            own.chmod(0o6755)
        except OSError as error:
            print(error)
        asked = subprocess.run(["/usr/bin/python3", "-I", "-c", ASKS], capture_output=True, text=True).stdout
        for name in ("as-root", "as-roots-group", "mine"):
            try:
                got = subprocess.run([f"{folder}/{name}", "-I", "-c", ASKS], capture_output=True, text=True).stdout
            except OSError as error:
                print(error)
                continue
            if got and got != asked:
                won(f"{name}: {got}")

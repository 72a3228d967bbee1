"""Dead processes that nobody takes note of, until there is room for no other"""

import os
import time
from pathlib import Path

from attack import Trick as Base
from attack import won

ORPHANS = 50


def zombies() -> int:
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found += Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            pass
    return found


class Trick(Base):
    area = "bombs"
    # This program is pid 1 there, and takes note of nobody.
    wrapper = ("unshare", "--pid", "--fork", "--mount-proc")
    as_root = True

    def inside(self) -> None:
        for _ in range(ORPHANS):
            pid = os.fork()
            if pid == 0:
                if os.fork() == 0:
                    os._exit(0)
                os._exit(0)
            os.waitpid(pid, 0)
        end = time.monotonic() + 10
        while zombies() >= ORPHANS and time.monotonic() < end:
            time.sleep(0.01)
        if zombies() >= ORPHANS:
            won(f"{zombies()} of {ORPHANS} stay")

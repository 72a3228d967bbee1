"""`wflo sandbox exec --sandbox docker --runtime runsc`: a container with a kernel of its own."""

from __future__ import annotations

import shutil

from backends.docker import Docker


class Gvisor(Docker):
    runtime = "runsc"
    stated = {
        "bomb_inodes": "its tmpfs counts bytes and not files; the memory limit is what bounds them",
        "device_nodes": "the devices are those of its own kernel",
        "limits_raised": "priorities are those of its own kernel, and change nothing outside",
        "proc_host": "what is told is of its own kernel",
    }
    unjudged = {"bomb_processor": "the processor time that is told inside is emulated"}

    def __init__(self) -> None:
        super().__init__()
        self.name = "gvisor"

    def missing(self) -> str | None:
        if shutil.which("runsc") is None:
            return "no runsc on the PATH"
        return super().missing()

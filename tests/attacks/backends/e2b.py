"""`wflo sandbox exec --sandbox e2b`, in sandboxes of wflo's own server of that API: what stands between a step and
the engine is tried, and the walls are the server's native ones."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from attack import Host

from backends.native import Native, binary

STARTED: dict[str, str] = {}
"""The variables of the cloud."""


def cloud() -> dict[str, str]:
    """A server that ends with this process."""
    if not STARTED:
        folder = Path(tempfile.mkdtemp(prefix="wflo-attacks-cloud-"))
        options = ["--listen", "127.0.0.1:0", "--json", "--pids", "300", "--cpus", "1"]
        process = subprocess.Popen(
            [binary(), "sandbox", "serve", *options],
            cwd=folder,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout

        def end() -> None:
            process.terminate()
            process.wait()
            shutil.rmtree(folder, True)

        atexit.register(end)
        told = json.loads(process.stdout.readline())
        address = f"http://{told['address']}"
        STARTED.update(E2B_API_URL=address, E2B_SANDBOX_URL=address, E2B_API_KEY=told["api_key"])
    return STARTED


ELSEWHERE = "the workspace is at a place of its own there, and the trick looks for it at its path"
NO_FOLDER = "no folder of the host can be shown there"


class E2b(Native):
    stated = {
        "bomb_memory_files": "the keeper counts processes; what is in files is bounded by what the cloud's sandbox has",
        "bomb_sockets": "the keeper counts processes; what is in sockets is bounded by what the cloud's sandbox has",
        "proc_host": "the server's own agent is there, which is this binary",
        "survivors_killed_maker": "nobody tells the cloud: it ends the sandbox within two minutes, or the next wflo does",
    }
    unjudged = {"links_out": ELSEWHERE, "modes_out": ELSEWHERE, "swap_kept": ELSEWHERE, "modes_left": NO_FOLDER}

    def __init__(self) -> None:
        super().__init__("root")
        self.name = "e2b"

    def environment(self, host: Host) -> dict[str, str]:
        return {**super().environment(host), **cloud()}

    def options(self) -> list[str]:
        return ["--sandbox", "e2b"]

    def settings(self) -> str:
        return 'backend = "e2b"\n'

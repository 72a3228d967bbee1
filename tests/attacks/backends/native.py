"""`wflo sandbox exec`, as root and as an ordinary user."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from attack import Host, Ran, Setup

from backends import carry_out, program

USER = 64_213
"""An ordinary user, of whom this machine knows nothing."""


def binary() -> Path:
    named = os.environ.get("WFLO_BIN")
    path = Path(named) if named else Path(sys.executable).parent / "wflo"
    assert path.is_file(), f"{path} is missing: `make install` builds it, WFLO_BIN names another one"
    return path


class Native:
    def __init__(self, who: str) -> None:
        self.name = f"native ({who})"
        self.ordinary = who == "user"
        here = os.geteuid()
        self.user = USER if self.ordinary and here == 0 else here
        self.wflo: Path | None = None

    def missing(self) -> str | None:
        if self.ordinary or os.geteuid() == 0:
            return None
        return "the suite does not run as root"

    def reachable(self) -> Path:
        """The binary, where an ordinary user may go."""
        if self.wflo is None:
            self.wflo = binary()
            if self.user != os.geteuid():
                folder = Path(tempfile.mkdtemp(prefix="wflo-attacks-"))
                atexit.register(shutil.rmtree, folder, True)
                folder.chmod(0o755)
                self.wflo = Path(shutil.copy(self.wflo, folder / "wflo"))
        return self.wflo

    def command(self) -> list[str]:
        """wflo, as its user."""
        if self.user == os.geteuid():
            return [str(self.reachable())]
        who = ["setpriv", "--reuid", str(self.user), "--regid", str(self.user), "--clear-groups", "--"]
        return [*who, str(self.reachable())]

    def environment(self, host: Host) -> dict[str, str]:
        home = host.dir("home-of-wflo")
        return {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "LANG": "C.UTF-8"}

    def run(self, trick: str, host: Host, setup: Setup) -> Ran:
        options = []
        for name, value in {"timeout": "20s", **setup.limits}.items():
            options += [f"--{name}", value]
        if setup.workspace:
            options += ["--workspace", str(setup.workspace)]
        if setup.kept:
            options.append("--keep")
        for path in setup.read_only:
            options += ["--ro", f"{path}:{path}"]
        inside = program(trick, host, setup)
        command = [*self.command(), "sandbox", "exec", *options, "--", *inside]
        ran = carry_out(command, {**self.environment(host), **setup.env}, setup, host.folder)
        assert "could not be made" not in ran.output and "cannot be made" not in ran.output, ran
        if setup.kept and " in /" in ran.output:
            ran.kept = Path("/" + ran.output.rsplit(" in /", 1)[1].strip())
        return ran

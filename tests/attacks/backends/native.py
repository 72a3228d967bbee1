"""`wflo sandbox exec`, as root and as an ordinary user."""

from __future__ import annotations

import atexit
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from attack import Host, Ran, Setup

from backends import carry_out, program

ROOT = Path(__file__).resolve().parents[3]
WORKFLOW = """
from wflo import *
workflow = Workflow("attack")

def attack(context):
    import os, sys
    os.chdir(context.workspace)
    sys.argv = [*{argv!r}, *([context.inputs["word"], context.step] if context.inputs else [])]
    exec(compile({code!r}, "attack", "exec"), {{}})

for number in range({steps}):
    workflow.step(name=f"attack-{{number}}", depends_on=[]{step})(attack)
"""
USER = 64_213
"""An ordinary user, of whom this machine knows nothing."""


def binary() -> Path:
    named = os.environ.get("WFLO_BIN")
    path = Path(named) if named else Path(sys.executable).parent / "wflo"
    assert path.is_file(), f"{path} is missing: `make install` builds it, WFLO_BIN names another one"
    return path


class Native:
    stated: dict[str, str] = {}
    unjudged: dict[str, str] = {}

    def __init__(self, who: str, preset: str = "default") -> None:
        self.preset = preset
        self.name = f"native ({who})" if preset == "default" else f"native ({who}, {preset})"
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

    def options(self) -> list[str]:
        """Of `wflo sandbox exec`."""
        return []

    def settings(self) -> str:
        """Of the project's sandboxes."""
        return ""

    def run_on_project(self, trick: str, host: Host, setup: Setup, project: Path) -> Ran:
        """A run, and what its owner does after it, at a terminal that is asked nothing."""
        code, token, *args = program(trick, host, setup)[3:]
        host.file(
            "project/wflo.toml",
            f'[project]\nname = "attack"\nworkflow = "workflow.py"\n[sandbox]\npreset = "{self.preset}"\n'
            f"{self.settings()}{setup.settings}",
            0o644,
        )
        step = f", {setup.step}" if setup.step else ""
        filled = WORKFLOW.format(code=code, argv=["-c", token, *args], steps=setup.steps, step=step)
        host.file("project/workflow.py", filled, 0o644)
        more = {"WFLO_TRUST": "1", "WFLO_PYTHON": "/usr/bin/python3", "PYTHONPATH": str(self.sdk())}
        env, told, seconds = {**self.environment(host), **more, **setup.env, "TERM": "xterm"}, "", 0.0
        runs = [["run", *setup.options, "--input", f"word={word}"] for word in setup.runs] or [["run", *setup.options]]
        looks = [["runs", "show", "latest"], *setup.shown]
        for verb in (*(verb for run in runs for verb in (run, *looks)), ["diff", "latest"], ["apply", "latest"]):
            shown = shlex.join([*self.command(), *verb])
            quiet = shown + " </dev/null" if verb[0] == "apply" else shown
            ran = carry_out(["script", "-qec", quiet, "/dev/null"], env, setup, project)
            told, seconds = told + ran.output, seconds + ran.seconds
        return Ran(0, told, seconds)

    def sdk(self) -> Path:
        """The SDK, where an ordinary user may go."""
        folder = self.reachable().parent / "sdk" if self.user != os.geteuid() else ROOT / "python"
        if not folder.exists():
            shutil.copytree(ROOT / "python" / "wflo", folder / "wflo", ignore=shutil.ignore_patterns("__pycache__"))
        return folder

    def run(self, trick: str, host: Host, setup: Setup) -> Ran:
        if setup.project:
            return self.run_on_project(trick, host, setup, setup.project)
        options = [*self.options(), "--preset", self.preset]
        for name, value in {"timeout": "20s", **setup.limits}.items():
            options += [f"--{name}", value]
        if setup.workspace:
            options += ["--workspace", str(setup.workspace)]
        if setup.kept:
            options.append("--keep")
        for rule in setup.hosts:
            options += ["--allow-host", rule]
        for path in setup.read_only:
            options += ["--ro", f"{path}:{path}"]
        for path in setup.writable:
            options += ["--rw", f"{path}:{path}"]
        inside = program(trick, host, setup)
        command = [*self.command(), "sandbox", "exec", *options, "--", *inside]
        ran = carry_out(command, {**self.environment(host), **setup.env}, setup, host.folder)
        assert "could not be made" not in ran.output and "cannot be made" not in ran.output, ran
        if setup.kept and " in /" in ran.output:
            ran.kept = Path("/" + ran.output.rsplit(" in /", 1)[1].strip())
        return ran

"""No sandbox: where every trick must succeed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

from attack import Host, Ran, Setup, Trick

from backends import carry_out, program

COPIES = 20
"""A race that is lost once in ten times is won in so many."""


class Outside:
    name = "without a sandbox"

    def __init__(self) -> None:
        self.user = os.geteuid()

    def run(self, name: str, trick: Trick, host: Host, setup: Setup) -> Ran:
        wrapper = list(trick.wrapper)
        if trick.as_root and self.user != 0:
            wrapper = ["unshare", "--user", "--map-root-user", *wrapper]
        trick.outside(host, setup)
        project, at = setup.project, setup.workspace or host.folder
        if project:
            at = host.folder / "copy"
            with contextlib.suppress(shutil.Error):
                shutil.copytree(project, at, symlinks=True)
        command = [*wrapper, *program(name, host, setup)]
        env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **setup.env}
        ran = carry_out(command, env, setup, at, start_new_session=True)
        if project:
            # As naive tools show changes and bring them in.
            differs = subprocess.run(["diff", "-rN", project, at], capture_output=True, check=False)
            ran.output += differs.stdout.decode(errors="replace")
            with contextlib.suppress(shutil.Error):
                shutil.copytree(at, project, dirs_exist_ok=True)
        if setup.kept and setup.workspace:
            # As naive tools bring files out: links followed, modes kept.
            ran.kept = host.folder / "kept"
            # Names that change places meanwhile are copied as far as they can be: whoever is naive goes on, and tries again.
            for kept in (ran.kept, *(ran.kept / f"again-{number}" for number in range(COPIES))):
                with contextlib.suppress(shutil.Error):
                    shutil.copytree(setup.workspace, kept, ignore_dangling_symlinks=True)
        return ran

"""`wflo sandbox exec --sandbox docker`, with the daemon's own runtime."""

from __future__ import annotations

import atexit
import os
import subprocess

from attack import Host

from backends.native import ROOT, Native

STARTED: dict[str, str] = {}
"""The address of the daemon, or why there is none."""


def daemon() -> dict[str, str]:
    """The daemon that `WFLO_TEST_DOCKER` names, or one that is started here and ends with this process."""
    if not STARTED:
        if named := os.environ.get("WFLO_TEST_DOCKER"):
            STARTED["host"] = named
            return STARTED
        process = subprocess.Popen(
            [ROOT / "scripts" / "test_dockerd.sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdin and process.stdout and process.stderr
        if host := process.stdout.readline().strip():
            STARTED["host"] = host

            def end() -> None:
                process.stdin.close()
                process.wait()

            atexit.register(end)
        else:
            STARTED["missing"] = f"no Docker daemon: {process.stderr.read().strip() or 'it does not start'}"
    return STARTED


class Docker(Native):
    runtime: str | None = None
    stated = {"clocks": "Docker has no time namespaces"}

    def __init__(self) -> None:
        super().__init__("root")
        self.name = "docker"

    def missing(self) -> str | None:
        return super().missing() or daemon().get("missing")

    def environment(self, host: Host) -> dict[str, str]:
        return {**super().environment(host), "DOCKER_HOST": daemon()["host"]}

    def options(self) -> list[str]:
        return ["--sandbox", "docker", *(["--runtime", self.runtime] if self.runtime else [])]

    def settings(self) -> str:
        runtime = f'runtime = "{self.runtime}"\n' if self.runtime else ""
        return f'backend = "docker"\n{runtime}'

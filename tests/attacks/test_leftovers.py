"""What `wflo sandbox exec` leaves behind when it is killed is gone with the next one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from attack import Host
from backends.native import Native


def files(folder: Path) -> list[Path]:
    """Everything below but the folders of an empty store and its locks. What hides a file is no file itself."""
    return [path for path in folder.rglob("*") if not path.is_dir() and path.name not in ("in-use", "lock")]


def launchers(parent: int) -> list[int]:
    """Whom a process has started."""
    stats = list(Path("/proc").glob("[0-9]*/stat"))
    found = []
    for path in stats:
        try:
            if path.read_text().rsplit(")", 1)[1].split()[1] == str(parent):
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def mounts() -> set[str]:
    return set(Path("/proc/self/mountinfo").read_text().splitlines())


@pytest.mark.parametrize("who", ["root", "user"])
def test_a_killed_exec_leaves_nothing_to_the_next(at_host, who: str) -> None:
    native = Native(who)
    if reason := native.missing():
        pytest.skip(reason)
    with at_host(native.user) as host:
        host: Host
        host.file("workspace/.env", "KEY=secret")
        host.file("shown/.env", "KEY=secret")
        environment, before = native.environment(host), mounts()
        options = ["--workspace", f"{host.folder}/workspace", "--ro", f"{host.folder}/shown:/shown", "--memory", "64m"]

        def command(script: str) -> list[str]:
            return [*native.command(), "sandbox", "exec", *options, "--", "sh", "-c", script, host.marker]

        with subprocess.Popen(
            command("echo ready; sleep 100"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment, cwd=host.folder,
        ) as process:  # fmt: skip
            assert process.stdout and process.stdout.readline() == b"ready\n"
            (launcher,) = launchers(process.pid)
            process.kill()
        assert files(host.folder / "home-of-wflo"), "what hides the files was there"
        assert host.eventually(lambda: not host.processes()), host.processes()
        subprocess.run(command("true"), env=environment, cwd=host.folder, check=True, stderr=subprocess.DEVNULL)
        assert files(host.folder / "home-of-wflo") == []
        # Others of this machine may mount and unmount meanwhile; what was left behind would stay.
        assert host.eventually(lambda: mounts() <= before), mounts() - before
        groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/wflo-*-{launcher}-*")]
        assert groups == []

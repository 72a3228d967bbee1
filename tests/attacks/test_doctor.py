"""`wflo sandbox doctor` says in each situation what is missing, and what it says to do is what helps."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import struct
import subprocess
from pathlib import Path

import pytest
from attack import Host
from backends.native import Native

ROOT, USER = Native("root"), Native("user")


def doctor(at_host, who: Native, *wrapper: str, before=None) -> tuple[int, dict[str, dict]]:
    """Its exit code and its findings, as this user, started through `wrapper`."""
    if reason := who.missing():
        pytest.skip(reason)
    with at_host(who.user) as host:
        host: Host
        *become, wflo = who.command()
        done = subprocess.run(
            [*become, *wrapper, wflo, "sandbox", "doctor", "--json"],
            capture_output=True, text=True, env=who.environment(host), cwd=host.folder, timeout=60, preexec_fn=before,
        )  # fmt: skip
    report = json.loads(done.stdout)
    return done.returncode, {check["name"]: check for check in report["checks"]}


def test_as_root_and_as_a_user_it_works(at_host) -> None:
    for who, says in ((ROOT, "an unused user"), (USER, "your own user")):
        if who.missing():
            continue
        code, found = doctor(at_host, who)
        assert (code, found["sandbox"]["state"]) == (0, "ok"), found
        assert says in found["user"]["detail"]
        for limit in ("memory limit", "cpu limit"):
            # Whatever is weaker than the kernel comes with what to do about it.
            assert found[limit]["state"] == "ok" or "systemd-run" in found[limit]["fix"], found


def test_where_user_namespaces_are_switched_off(at_host) -> None:
    # In a user namespace of its own, whose switch is not this host's.
    off = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    code, found = doctor(at_host, USER, "unshare", "--user", "--map-root-user", "sh", "-c", off, "sh")
    assert code == 1
    assert "sysctl -w user.max_user_namespaces=" in found["sandbox"]["fix"], found


def test_as_the_root_of_a_user_namespace(at_host) -> None:
    code, found = doctor(at_host, USER, "unshare", "--user", "--map-root-user", "--mount")
    assert code == 1
    assert "--map-current-user" in found["sandbox"]["fix"], found
    code, found = doctor(at_host, USER, "unshare", "--user", "--map-current-user", "--mount")
    assert (code, found["sandbox"]["state"]) == (0, "ok"), found


def test_as_a_containers_root(at_host) -> None:
    code, found = doctor(at_host, ROOT, "setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
    assert code == 1
    assert "SYS_ADMIN" in found["sandbox"]["fix"], found


def test_where_a_containers_filter_refuses_user_namespaces(at_host) -> None:
    number = {"x86_64": 272, "aarch64": 97}[platform.machine()]

    def filtered() -> None:
        # unshare(2) answers EPERM, as Docker's profile has it; everything else is made.
        steps = ((0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000))
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
        header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(program)))
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(header), 0, 0):
            os._exit(99)

    code, found = doctor(at_host, USER, before=filtered)
    assert code == 1
    assert "user namespaces" in found["sandbox"]["fix"], found
    if Path("/.dockerenv").exists():
        assert "seccomp=unconfined" in found["sandbox"]["fix"], found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root covers parts of /proc, as a container engine does")
def test_where_parts_of_proc_are_covered(at_host) -> None:
    with at_host(USER.user) as host:
        *become, wflo = USER.command()
        covered = 'mount -t tmpfs none /proc/acpi 2>/dev/null || mount -t tmpfs none /proc/fs; exec "$@"'
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", covered, "sh", *become, wflo, "sandbox", "doctor"],
            capture_output=True, text=True, env=USER.environment(host), cwd=host.folder, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert "systempaths=unconfined" in done.stdout, done

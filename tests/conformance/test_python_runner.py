"""The conformance test, on the Python runner: one test a check, and the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from conformance import CHECKS, Runner  # noqa: E402

COMMANDS = {
    "start": [sys.executable, "-c", "from wflo.runner import main; main()"],
    "module": [sys.executable, "-m", "wflo.runner"],
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_check(check):
    check(Runner(COMMANDS["start"], str(HERE / "python"), "workflow.py"))


def test_command_line():
    command = [sys.executable, str(HERE / "conformance.py"), "--project", str(HERE / "python")]
    found = subprocess.run(
        [*command, "--workflow", "workflow.py", "--", *COMMANDS["module"]], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert f"{len(CHECKS)} passed, 0 failed" in found.stdout


def test_a_runner_that_breaks_the_protocol_is_found_out():
    command = [sys.executable, str(HERE / "conformance.py"), "--project", str(HERE / "python")]
    found = subprocess.run(
        [*command, "--workflow", "workflow.py", "--", sys.executable, "-c", "print('no')"],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    assert f"0 passed, {len(CHECKS)} failed" in found.stdout

"""Errors that look like something else from inside a sandbox say what they are."""

from __future__ import annotations

import sys

import pytest


def error_of(project, body, imports=""):
    project.steps(f"import os, socket, sqlite3, errno\n{imports}\n@workflow.step\ndef step(context):\n    {body}\n")
    engine = project.start()
    return engine.receive("failed")["error"]


CASES = {
    "a name that is not resolved": ("raise socket.gaierror(-2, 'Name or service not known')", "no network"),
    "a refused connection": ("raise ConnectionRefusedError(errno.ECONNREFUSED, 'refused')", "no network"),
    "an unreachable network": ("raise OSError(errno.ENETUNREACH, 'unreachable')", "no network"),
    "one that a library wrapped": (
        "try:\n        raise socket.gaierror(-3, 'temporary')\n    except OSError as e:\n        raise RuntimeError('x') from e",
        "no network",
    ),
    "one that came while handling it": (
        "try:\n        raise socket.gaierror(-3, 'temporary')\n    except OSError as e:\n        raise RuntimeError('x')",
        "no network",
    ),
    "a write elsewhere": ("raise OSError(errno.EROFS, 'Read-only file system', '/etc/x')", "context.workspace"),
    "an environment file": ("open('.env')", "do not see .env"),
    "another environment file": ("open('conf/.env.local')", "do not see .env.local"),
    "a folder of the user's": ("open('/home/somebody/data/rows.csv')", "ro = "),
    "a variable": ("os.environ['MY_TOKEN']", "env = "),
    "a database": ("sqlite3.connect('new.db').execute('select * from tickets')", "context.db"),
    "a full disk": ("raise OSError(errno.ENOSPC, 'full')", "disk_limit"),
    "a missing package": ("import surely_not_there", "install it there"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_sandboxs_part_is_said(project, name):
    body, said = CASES[name]
    error = error_of(project, body)
    assert said in error["hint"], error
    # The user's own traceback stands as it was.
    assert "workflow.py" in error["traceback"] and error["place"].startswith("workflow.py:"), error


COMMANDS = {
    "without a network": (["git", "clone"], {"exit_code": 128, "stderr": "Could not resolve host: x"}, "no network"),
    "a silent fetch": (["/usr/bin/curl", "-s"], {"exit_code": 6}, "no network"),
    "a full disk": (["cp"], {"exit_code": 1, "stderr": "x: No space left on device"}, "disk_limit"),
    "not there": (["nosuch"], {"exit_code": 127}, "no such program"),
    "its own failure": (["make"], {"exit_code": 2, "stderr": "no rule"}, "check=False"),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("isolated", [True, False])
def test_a_commands_failure_names_the_wall_that_it_met(project, name, isolated):
    argv, result, said = COMMANDS[name]
    project.steps(
        "from wflo.context.tools import ToolFailed, ToolResult\n@workflow.step\ndef step(context):\n"
        f"    raise ToolFailed({argv}, ToolResult({result}), ('0', 1))\n"
    )
    error = project.start(isolated=isolated).receive("failed")["error"]
    assert (said if isolated else "check=False") in error["hint"], error


def test_a_missing_package_names_the_python(project):
    error = error_of(project, "import surely_not_there")
    assert sys.executable in error["hint"]
    project.write("workflow.py", "import surely_not_there")
    assert sys.executable in project.describe()["error"]["hint"]


WALLS = [
    "a name that is not resolved",
    "a refused connection",
    "an unreachable network",
    "one that a library wrapped",
    "a write elsewhere",
    "a folder of the user's",
    "a full disk",
]


@pytest.mark.parametrize("name", CASES)
def test_without_isolation_no_wall_is_named_that_is_not_there(project, name):
    body, said = CASES[name]
    project.steps(f"import os, socket, sqlite3, errno\n@workflow.step\ndef step(context):\n    {body}\n")
    error = project.start(isolated=False).receive("failed")["error"]
    if name in WALLS or "handling" in name:
        assert error.get("hint") is None, error
    else:
        assert said in error["hint"], error
    assert "sandbox" not in (error.get("hint") or "").replace("[sandbox]", "")


def test_without_isolation_a_file_of_somebody_elses_is_just_not_there(project):
    project.steps("@workflow.step\ndef step(context):\n    open('/srv/surely-not-there/.env')\n")
    assert project.start(isolated=False).receive("failed")["error"].get("hint") is None


PLAIN = {
    "their own error": "raise ValueError('mine')",
    "a file of the project": "open('rows.csv')",
    "a file in /tmp": "open('/tmp/surely-not-there/x')",
    "a key of a dict": "{}['MY_TOKEN']",
    "a module of the project": "import wflo.surely_not_there",
    "cut off": "try:\n        raise socket.gaierror(-3, 'x')\n    except OSError:\n        raise RuntimeError('x') from None",
    "a sum": "1 + 'a'",
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_wflo_knows_nothing_of_gets_no_hint(project, name):
    assert error_of(project, PLAIN[name]).get("hint") is None


def test_a_hint_is_not_in_the_traceback_too(project):
    error = error_of(project, "context.branch('1 2')")
    assert error["hint"] and error["hint"] not in error["traceback"]
    assert f"[{error['code']}]" in error["traceback"]


def test_the_users_lines_come_first_and_libraries_are_short(project):
    error = error_of(project, "urllib.request.urlopen('http://name.invalid:1/')", "import urllib.request")
    frames = [line.strip() for line in error["traceback"].splitlines() if line.strip().startswith("File")]
    assert "workflow.py" in frames[0], frames
    assert len(frames) == 3, frames
    assert error["traceback"].count("Traceback") == 1
    assert error["hint"].startswith("steps have no network")

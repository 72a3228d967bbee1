"""What type checkers say of a workflow file: nothing where it is right, the option where it is wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import wflo

FOLDER = Path(__file__).parent / "typing"
PACKAGES = Path(wflo.__file__).parents[1]
EXPECTED = re.compile(r"# says: (?P<pyright>.+) \| (?P<mypy>.+)$")


def expected(checker: str) -> dict[int, str]:
    lines = (FOLDER / "wrong.py").read_text().splitlines()
    found = {number: EXPECTED.search(line) for number, line in enumerate(lines, 1)}
    return {number: match[checker] for number, match in found.items() if match}


def run(*command: str, cwd: Path) -> str:
    env = {**os.environ, "PYTHONPATH": str(PACKAGES), "MYPYPATH": str(PACKAGES)}
    done = subprocess.run([sys.executable, "-m", *command], cwd=cwd, env=env, capture_output=True, text=True)
    return done.stdout


def pyright(cwd: Path) -> dict[str, dict[int, str]]:
    """By file and line, what is wrong."""
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.10", "extraPaths": [str(PACKAGES)]}
    # What only says that a file of mistakes is one.
    settings |= {"reportUntypedFunctionDecorator": "none", "reportUnnecessaryTypeIgnoreComment": "none"}
    (cwd / "pyrightconfig.json").write_text(json.dumps(settings))
    report = json.loads(run("pyright", "--outputjson", cwd=cwd))
    found: dict[str, dict[int, str]] = {"right.py": {}, "wrong.py": {}}
    for one in report["generalDiagnostics"]:
        if one["severity"] != "information":
            at = found[Path(one["file"]).name]
            line = one["range"]["start"]["line"] + 1
            at[line] = f"{at.get(line, '')}{one['message']}\n"
    return found


def mypy(cwd: Path) -> dict[str, dict[int, str]]:
    text = run("mypy", "--strict", "--no-error-summary", "--cache-dir", str(cwd / "cache"), ".", cwd=cwd)
    found: dict[str, dict[int, str]] = {"right.py": {}, "wrong.py": {}}
    for line in text.splitlines():
        match = re.fullmatch(r"([\w./]+):(\d+): (error|note): (.*)", line)
        assert match, text
        if match[3] == "note":
            continue
        at = found[Path(match[1]).name]
        at[int(match[2])] = f"{at.get(int(match[2]), '')}{match[4]}\n"
    return found


@pytest.mark.parametrize("checker", [pyright, mypy])
def test_a_wrong_use_is_named_and_a_right_one_is_not(checker, tmp_path):
    for name in ("right.py", "wrong.py"):
        (tmp_path / name).write_text((FOLDER / name).read_text())
    found = checker(tmp_path)
    assert found["right.py"] == {}
    wanted = expected(checker.__name__)
    assert len(wanted) > 15
    assert set(found["wrong.py"]) == set(wanted), found["wrong.py"]
    for line, word in wanted.items():
        assert word in found["wrong.py"][line], (line, word, found["wrong.py"][line])


def test_the_package_says_that_it_is_typed():
    assert (Path(wflo.__file__).parent / "py.typed").is_file()

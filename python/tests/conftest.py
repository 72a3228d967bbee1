"""Fixtures: a project folder with a workflow, and a runner with a fake engine."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests" / "conformance")]

from fake_engine import FakeEngine  # noqa: E402

RUNNER = ["-c", "from wflo.runner import main; main()"]


class Project:
    """A folder with a workflow file and runners that are started on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = str(folder)
        self.workflow = "workflow.py"
        self.python = sys.executable
        self._engines: list[FakeEngine] = []

    def write(self, name: str, source: str) -> Path:
        """Writes a file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source).lstrip("\n"))
        return path

    def steps(self, source: str) -> None:
        """Writes `workflow.py` with a workflow named `workflow` and these steps."""
        head = "from wflo import *\nimport wflo\nworkflow = Workflow('test')\n"
        self.write("workflow.py", head + textwrap.dedent(source).lstrip("\n"))

    def engine(
        self, features: tuple[str, ...] = (), greet: bool = True, isolated: bool = True, **env: str
    ) -> FakeEngine:
        """A runner that has said hello."""
        environment = {"PYTHONPATH": str(ROOT / "python"), "PYTHONHASHSEED": "1", **env}
        engine = FakeEngine(
            [self.python, *RUNNER],
            cwd=self.path,
            env=environment,
            features=features,
            greet=greet,
            isolated=isolated,
        )
        self._engines.append(engine)
        return engine

    def start(
        self, step: str = "step", features: tuple[str, ...] = (), isolated: bool = True, **more: object
    ) -> FakeEngine:
        """A runner in which `step` has begun."""
        engine = self.engine(features, isolated=isolated)
        engine.start(self.path, self.workflow, step, **more)
        return engine

    def describe(self, workflow: str | None = None) -> dict:
        """The definition, or the error."""
        return self.engine().describe(self.path, workflow or self.workflow)

    def close(self) -> None:
        for engine in self._engines:
            engine.__exit__()


@pytest.fixture
def project(tmp_path: Path):
    """A project folder of its own."""
    os.environ.pop("WFLO_URL", None)
    found = Project(tmp_path)
    yield found
    found.close()

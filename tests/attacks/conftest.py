"""Every trick in every backend, and once without a sandbox; at the end the table."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from attack import Host, Trick
from backends import everyone
from table import Table

FOLDER = Path(__file__).parent / "tricks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
MEASURED = pytest.StashKey[Table]()


class Named:
    """A trick and what its file says of it."""

    def __init__(self, name: str) -> None:
        spec = importlib.util.spec_from_file_location(f"tricks.{name}", FOLDER / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.name = name
        self.title = (module.__doc__ or "").split("\n")[0].rstrip(".")
        self.trick: Trick = module.Trick()


TRICKS = [Named(name) for name in NAMES]
BACKENDS = everyone()


@pytest.fixture(params=TRICKS, ids=NAMES)
def named(request: pytest.FixtureRequest) -> Named:
    return request.param


@pytest.fixture(params=BACKENDS, ids=[backend.name for backend in BACKENDS])
def backend(request: pytest.FixtureRequest):
    return request.param


@pytest.fixture
def at_host() -> Iterator[Callable]:
    """Makes the outside for one attempt as this user."""

    @contextmanager
    def made(user: int) -> Iterator[Host]:
        folder = Path(tempfile.mkdtemp(prefix="wflo-attack-"))
        folder.chmod(0o755)
        host = Host(folder, user, os.geteuid())
        host.give(folder)
        try:
            yield host
        finally:
            host.close()
            rmtree(folder, ignore_errors=True)

    yield made


@pytest.fixture
def measured(pytestconfig: pytest.Config) -> Table:
    return pytestconfig.stash[MEASURED]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MEASURED] = Table()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    table = config.stash[MEASURED]
    terminalreporter.write_line(f"\n{table}")
    if os.environ.get("WFLO_ATTACKS_TABLE"):
        table.write()

"""Fixtures: a server of sandboxes, and what the stock SDKs did with it; at the end of the session, the table.

`WFLO_E2B_TABLE=docs/reference/e2b.md` writes the table into the reference.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# The SDKs are installed as the clients of models are.
sys.path[:0] = [str(HERE), str(HERE / "programs"), str(HERE.parent / "clients")]

from served import Served, Wflo  # noqa: E402
from table import Did, page  # noqa: E402

DID = pytest.StashKey[Did]()


@pytest.fixture(scope="session")
def program() -> Path:
    """The wflo command: the installed one, or what `WFLO_BIN` names."""
    named = os.environ.get("WFLO_BIN")
    path = Path(named) if named else Path(sys.executable).parent / "wflo"
    assert path.is_file(), f"{path} is missing: `make install` builds it, WFLO_BIN names another one"
    subprocess.run([path, "--version"], check=True, stdout=subprocess.DEVNULL)
    return path


# Root may be an ordinary user, and nobody else may be another.
WHO = ["as-root", "as-an-ordinary-user"] if os.geteuid() == 0 else ["as-an-ordinary-user"]


@pytest.fixture(scope="session", params=WHO)
def wflo(request: pytest.FixtureRequest, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wflo]:
    with tempfile.TemporaryDirectory(prefix="wflo-e2b-") as folder:
        yield Wflo(program, Path(folder), os.geteuid() == 0 and request.param == "as-an-ordinary-user")


@pytest.fixture(scope="session")
def served(wflo: Wflo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that the tests of a session share."""
    with Served(wflo, tmp_path_factory.mktemp("served")) as one:
        yield one


@pytest.fixture(scope="session")
def did(request: pytest.FixtureRequest, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Did:
    folder = tmp_path_factory.mktemp("did")
    found = Did(Wflo(program, folder), folder)
    request.config.stash[DID] = found
    return found


def pytest_terminal_summary(config: pytest.Config) -> None:
    found = config.stash.get(DID, None)
    if found is not None and (path := os.environ.get("WFLO_E2B_TABLE")):
        Path(path).write_text(page(found))

"""Fixtures: the real binary, and what the clients did; at the end of the session, the table of it.

`WFLO_CLIENTS_TABLE=docs/reference/clients.md` writes the table into the reference.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from measured import Measured
from table import Table

MEASURED = pytest.StashKey[Measured]()


@pytest.fixture(scope="session")
def wflo() -> Path:
    """The wflo command: the installed one, or what `WFLO_BIN` names."""
    named = os.environ.get("WFLO_BIN")
    path = Path(named) if named else Path(sys.executable).parent / "wflo"
    assert path.is_file(), f"{path} is missing: `make install` builds it, WFLO_BIN names another one"
    subprocess.run([path, "--version"], check=True, stdout=subprocess.DEVNULL)
    return path


@pytest.fixture(scope="session")
def measured(
    request: pytest.FixtureRequest, wflo: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Measured]:
    """What the clients of this session's tests did."""
    calls = (getattr(item, "callspec", None) for item in request.session.items)
    wanted = dict.fromkeys(call.params["client"] for call in calls if call and "client" in call.params)
    found = Measured(wflo, tmp_path_factory.mktemp("clients"), list(wanted))
    request.config.stash[MEASURED] = found
    yield found
    found.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table: client by case."""
    if (found := config.stash.get(MEASURED, None)) is None:
        return
    table = Table(found)
    terminalreporter.section("clients")
    for line in table.lines():
        terminalreporter.write_line(line)
    if path := os.environ.get("WFLO_CLIENTS_TABLE"):
        Path(path).write_text(table.page())

"""The reference says of every client what was measured here."""

from pathlib import Path

import pytest
from measured import Measured
from table import Table
from test_sandboxed import RUNS

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/clients.md"


# Asks for every client, so that none is left out.
@pytest.mark.parametrize("client", RUNS)
def test_the_clients_row_stands_in_the_reference(measured: Measured, client) -> None:
    table = Table(measured)
    row = table.lines()[2 + table.clients.index(client)]
    assert row in PAGE.read_text().splitlines(), "`make clients-table` writes the page anew"

"""No trick works in a sandbox, and every trick works without one."""

from __future__ import annotations

import pytest
from backends.outside import Outside
from table import PAGE, Table

from conftest import NAMES, Named


def test_a_sandbox_holds(named: Named, backend, at_host, measured: Table) -> None:
    if reason := backend.missing():
        measured.add(named.name, named.trick.area, named.title, backend.name, reason)
        pytest.skip(reason)
    if reason := backend.unjudged.get(named.name):
        measured.add(named.name, named.trick.area, named.title, backend.name, f"not judged: {reason}")
        pytest.skip(reason)
    with at_host(backend.user) as host:
        ran = backend.run(named.name, host, named.trick.prepare(host))
        got_out = named.trick.escaped(host, ran)
    stated = backend.stated.get(named.name)
    verdict = "held" if got_out is None else f"not held: {stated}" if stated else f"ESCAPED: {got_out}"
    measured.add(named.name, named.trick.area, named.title, backend.name, verdict)
    if stated:
        assert got_out is not None, f"it is held, and said not to be: {stated}"
        return
    assert got_out is None, ran
    # The program has run: who does not even start is held by nothing.
    assert "Traceback" not in ran.output or named.name == "terminal_errors", ran


def test_without_a_sandbox_it_works(named: Named, at_host, measured: Table) -> None:
    trick, outside = named.trick, Outside()

    def add(verdict: str) -> None:
        measured.add(named.name, trick.area, named.title, "control", verdict)

    if trick.no_control:
        add(f"none: {trick.no_control}")
        return
    with at_host(outside.user) as host:
        ran = outside.run(named.name, trick, host, trick.prepare(host))
        got_out = trick.escaped(host, ran)
    if got_out is None and trick.only_where:
        add(f"none here: {trick.only_where}")
        return
    add("works" if got_out else "DOES NOT WORK")
    assert got_out, ran


def test_the_reference_has_a_row_for_each() -> None:
    page = PAGE.read_text()
    assert [name for name in NAMES if f"`{name}`" not in page] == []

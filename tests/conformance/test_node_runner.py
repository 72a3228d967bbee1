"""The conformance test, on the runner for JavaScript."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from conformance import CHECKS, Runner  # noqa: E402
from node import node  # noqa: E402

MAIN = HERE.parents[1] / "node" / "runner" / "main.mjs"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_check(check):
    check(Runner([str(node()), str(MAIN)], str(HERE / "node"), "workflow.mjs"))

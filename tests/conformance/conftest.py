"""Lets the conformance test run from a checkout in which wflo is not installed."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

_found = importlib.util.find_spec("wflo")
if _found is None or not str(_found.origin).startswith(sys.prefix):
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2] / "python")

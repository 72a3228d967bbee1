"""Lets the conformance test run from a checkout in which wflo is not installed."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

if importlib.util.find_spec("wflo") is None:
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2] / "python")

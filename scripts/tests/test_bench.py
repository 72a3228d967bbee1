"""What the bench cannot measure is said in its table, and not left out."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import sandboxes


@pytest.mark.parametrize("there", [True, False])
def test_gvisor_is_measured_where_it_is_and_said_to_be_missing_elsewhere(
    monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    found = {"dockerd", "runsc"} if there else {"dockerd"}
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in found else None)
    monkeypatch.setattr(sandboxes.os, "getuid", lambda: 0)
    stream = SimpleNamespace(readline=lambda: "unix:///nowhere\n", close=lambda: None)
    daemon = SimpleNamespace(stdin=stream, stdout=stream, wait=lambda: 0)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: daemon)
    monkeypatch.setattr(sandboxes.Docker, "take_image", lambda _: None)
    skipped: list[tuple[str, str]] = []
    bench = SimpleNamespace(skip=lambda section, what, why: skipped.append((what, why)), spawn=lambda *_: 0.0)
    measures: dict[str, Callable[[], object]] = {}
    runtimes, _ = sandboxes.containers(bench, measures)
    assert ("runsc" in runtimes, "apirunsc" in measures, "dockerrunsc" in measures) == (there, there, there)
    assert skipped == ([] if there else [("gVisor", "there is no runsc on the path")])

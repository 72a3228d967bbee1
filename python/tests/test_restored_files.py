"""The files of a recorded tool, put back by the runner: with what belongs to them beside their content."""

import os
from pathlib import Path

import pytest

from wflo.runner.files import Restorer


def test_attributes_come_with_files_and_folders(tmp_path: Path) -> None:
    try:
        os.setxattr(tmp_path, "user.try", b"")
    except OSError:
        pytest.skip("the file system of the tests has no attributes for users")
    restorer = Restorer(str(tmp_path))
    tag = [["user.tag", {"$bytes": "Mg=="}], [{"$bytes": "dXNlci7/"}, {"$bytes": ""}]]
    restorer.apply({"folder": "made", "mode": 0o755, "attributes": tag})
    # Without the right to write it, as its mode says in the end.
    part = {"file": "made/f", "data": {"$bytes": "eA=="}, "mode": 0o444, "attributes": tag}
    restorer.apply(part)
    assert restorer.error is None
    for path in ("made", "made/f"):
        place = os.path.join(tmp_path, path)
        found = {os.fsencode(name): os.getxattr(place, name) for name in os.listxattr(place)}
        assert found == {b"user.tag": b"2", b"user.\xff": b""}, path
    assert (tmp_path / "made/f").read_text() == "x"

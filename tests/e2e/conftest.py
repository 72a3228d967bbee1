"""Fixtures: the real binary, projects, a model provider.

The binary is the installed one, beside the Python that runs the tests. `WFLO_BIN` names another one
(a debug build, with `PYTHONPATH=python`) for quick runs.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from model import MockModel
from project import Project

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # The tests were started in the background of a script, and what they start would ignore it, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def wflo() -> Path:
    """The wflo command."""
    named = os.environ.get("WFLO_BIN")
    path = Path(named) if named else Path(sys.executable).parent / "wflo"
    assert path.is_file(), f"{path} is missing: `make install` builds it, WFLO_BIN names another one"
    subprocess.run([path, "--version"], check=True, stdout=subprocess.DEVNULL)
    return path


@pytest.fixture
def model() -> Iterator[MockModel]:
    """A model provider that remembers what it was asked."""
    with MockModel() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, wflo: Path, model: MockModel) -> Iterator[Project]:
    """An empty project whose models are at `model`."""
    folder = tmp_path / "project"
    folder.mkdir()
    found = Project(folder, wflo, model.address)
    yield found
    found.close()


@pytest.fixture
def with_failpoints() -> Path:
    """A wflo that `WFLO_FAILPOINT` kills at a named place: a debug build, since others have no such places.
    `make test-e2e` builds it and names it in `WFLO_FAILPOINT_BIN`."""
    named = os.environ.get("WFLO_FAILPOINT_BIN") or os.environ.get("WFLO_BIN") or ""
    assert Path(named).is_file(), "WFLO_FAILPOINT_BIN names no debug build of wflo: run `make test-e2e`"
    return Path(named)


@pytest.fixture
def failpoints(project: Project, with_failpoints: Path) -> None:
    """The project's wflo is one with failpoints."""
    project.wflo = with_failpoints


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A folder with an authority, and the certificate of a server at 127.0.0.2 that it vouches for."""
    folder = tmp_path / "authority"
    folder.mkdir()

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a company", "-keyout", "ca.key",
            "-out", "ca.pem")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=host", "-keyout", "host.key", "-out", "host.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.2,DNS:host.test\n")
    openssl("x509", "-req", "-in", "host.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-extfile", "names",
            "-out", "host.crt")  # fmt: skip
    (folder / "host.pem").write_text((folder / "host.crt").read_text() + (folder / "host.key").read_text())
    return folder

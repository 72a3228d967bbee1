"""A Python of one's own, in a hidden folder and with keys in its tests, as pyenv and uv keep them: it runs steps everywhere."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import Project

import wflo

KEY = "-----BEGIN PRIVATE KEY-----\nbm90aGluZw==\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def own(project: Project, tmp_path: Path) -> Path:
    """The folder of its library; the project runs steps with it."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    prefix = tmp_path / ".pyenv/versions/3.99.0"
    library = prefix / "lib" / version
    left_out = shutil.ignore_patterns("test", "site-packages", "dist-packages", "__pycache__", "config-*", "idlelib")
    shutil.copytree(Path(sys.base_prefix, "lib", version), library, ignore=left_out)
    for folder in ("test/certdata", "site-packages/made", "site-packages/made-1.0.dist-info"):
        (library / folder).mkdir(parents=True)
    (library / "test/__init__.py").touch()
    for file in ("test/keycert.pem", "test/certdata/keycert.pem", "site-packages/made/ca.key"):
        (library / file).write_text(KEY)
    digest = base64.urlsafe_b64encode(hashlib.sha256(KEY.encode()).digest()).decode().rstrip("=")
    record = f"made/ca.key,sha256={digest},{len(KEY)}\nmade-1.0.dist-info/RECORD,,\n"
    (library / "site-packages/made-1.0.dist-info/RECORD").write_text(record)
    (prefix / "bin").mkdir()
    program = prefix / "bin" / version
    shutil.copy(os.path.realpath(sys._base_executable), program)  # type: ignore[attr-defined]
    project.environment["WFLO_PYTHON"] = str(program)
    project.environment["PYTHONPATH"] = str(Path(wflo.__file__).parents[1])
    project.steps("""
        import sysconfig
        from pathlib import Path

        @workflow.step
        def look(context):
            library = Path(sysconfig.get_path("stdlib"))
            names = ["test/keycert.pem", "test/certdata/keycert.pem", "site-packages/made/ca.key", "site-packages/.env"]
            return [sys.prefix, [name for name in names if (library / name).exists()]]
    """)
    return library


@pytest.fixture
def containers(project: Project) -> Iterator[None]:
    if os.geteuid() or not shutil.which("dockerd"):
        pytest.skip("a Docker daemon of one's own needs root and dockerd (apt-get install docker.io)")
    script = Path(__file__).resolve().parents[2] / "scripts" / "test_dockerd.sh"
    with subprocess.Popen([script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdin and daemon.stdout
        project.environment["DOCKER_HOST"] = daemon.stdout.readline().strip()
        project.write_settings('[sandbox]\nbackend = "docker"\n')
        yield
        daemon.stdin.close()


BROUGHT = ["test/keycert.pem", "test/certdata/keycert.pem", "site-packages/made/ca.key"]


def test_it_runs_steps_in_a_container(project: Project, own: Path, containers: None) -> None:
    done = project.run()
    assert done.code == 0 and done.run["outputs"]["look"] == [str(own.parents[1]), BROUGHT], done
    # What nobody brought is a secret, and a container could not hide it.
    (own / "site-packages/.env").write_text("TOKEN=x\n")
    done = project.run()
    assert done.code == 1 and "WFLO-5281" in done.out, done


def test_it_runs_steps_in_the_native_sandbox_without_what_nobody_brought(project: Project, own: Path) -> None:
    (own / "site-packages/.env").write_text("TOKEN=x\n")
    done = project.run()
    assert done.code == 0 and done.run["outputs"]["look"] == [str(own.parents[1]), BROUGHT], done

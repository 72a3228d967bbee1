"""What a runner does before it has an order: it imports what the steps of any project need.

Owns which modules those are, and when they stay out. Nothing of the project's is imported, and nothing that its
modules might be meant to stand before: a step must not be able to tell whether its runner had time for this.
"""

from __future__ import annotations

import importlib
import os
import sys

from .frames import Channel
from .loader import tidy_path

# Those of every step come first. The engine may order at any time: between two of them it is looked at.
_MODULES = (
    "wflo.runner.steps",
    "wflo.runner.finish",
    "inspect",
    "logging",
    "socket",
    "subprocess",
    "ssl",
    "concurrent.futures",
    "asyncio",
    "wflo.runner.forgotten",
    "wflo.runner.loop",
)
# A project that spreads over more folders than this is not looked through.
_FOLDERS = 64


def prepare(channel: Channel, project: str, workflow: str) -> None:
    """Imports ahead, until there is an order or nothing is left. Never raises: a step imports what it needs."""
    try:
        tidy_path(project)
        if _hides_the_library(project, workflow):
            return
        for name in _MODULES:
            if channel.wait(0):
                return
            importlib.import_module(name)
    except Exception:
        return


def _hides_the_library(project: str, workflow: str) -> bool:
    """Whether the project has a module of a name that the library has too, where a path may lead to it.

    That is beside the workflow, in the project's folder, and in folders below that are no packages.
    """
    beside = os.path.dirname(os.path.join(project, workflow.partition(":")[0]))
    waiting = [project, beside]
    for folder in waiting:
        if len(waiting) > _FOLDERS:
            return True
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            name = entry.name.partition(".")[0]
            is_folder = entry.is_dir()
            if not is_folder and not entry.name.endswith((".py", ".so")):
                continue
            if name in sys.stdlib_module_names and name not in sys.modules:
                return True
            is_path = is_folder and folder in (project, beside) and not name.startswith("__") and entry.name[:1] != "."
            if is_path and not os.path.exists(os.path.join(entry.path, "__init__.py")):
                waiting.append(entry.path)
    return False

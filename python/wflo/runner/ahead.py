"""What a runner does before it has an order: it imports what the steps of any project need, and compiles the workflow.

Owns which modules those are, and when they stay out. Nothing of the project's is run, and no module of the
library that the project may want to be another one, or to be loaded by its own leave: whether a runner had
time for this must change nothing but how soon a step begins.
"""

from __future__ import annotations

import importlib
import os
import sys

from . import finish
from .frames import Channel
from .loader import compile_ahead, tidy_path

# They come first in any step, whatever its project is.
_OURS = "wflo.runner.steps"
# What takes longest comes last: the engine may order at any time.
_LIBRARY = (
    "inspect",
    "logging",
    "socket",
    "subprocess",
    "concurrent.futures",
    "ssl",
    "asyncio",
    "wflo.runner.forgotten",
    "wflo.runner.loop",
)
# A project with more entries, or more bytes of Python, is not looked through.
_ENTRIES = 4_000
_BYTES = 8 << 20
# By these a program decides how OpenSSL is loaded (which is when `ssl` is), and where modules are looked for.
_WORDS = (b"OPENSSL_", b"sys.path", b"from sys import", b"addsitedir", b"meta_path", b"path_hooks")
_NO_SOURCE = frozenset({"__pycache__", "node_modules"})


def prepare(channel: Channel, project: str, workflow: str) -> None:
    """Imports ahead, until there is an order or nothing is left. Never raises: a step imports what it needs."""
    try:
        importlib.import_module(_OURS)
        tidy_path(project)
        if channel.pending() or not _Look(channel, project, workflow).is_plain():
            return
        for name in _LIBRARY:
            if channel.pending():
                return
            importlib.import_module(name)
        if not channel.pending():
            compile_ahead(project, workflow)
        finish.set_apart()
    except Exception:
        return


class _Look:
    """A look through a project: whether anything in it could be meant to come before what is imported ahead.

    That is a module of a name that the library has too, in the folders that its steps have on their path, and in any
    source a word by which other folders come there, or by which OpenSSL is told how to be loaded.
    """

    def __init__(self, channel: Channel, project: str, workflow: str) -> None:
        self._channel = channel
        self._roots = {project, os.path.dirname(os.path.join(project, workflow.partition(":")[0]))}
        self._entries = _ENTRIES
        self._bytes = _BYTES
        self._waiting = list(self._roots)

    def is_plain(self) -> bool:
        """False too when an order came meanwhile, or there is too much to look at."""
        for folder in self._waiting:
            if self._channel.pending():
                return False
            try:
                entries = os.scandir(folder)
            except OSError:
                continue
            with entries:
                for entry in entries:
                    self._entries -= 1
                    is_late = self._entries % 64 == 0 and self._channel.pending()
                    too_much = self._entries < 0 or self._bytes < 0
                    if is_late or too_much or not self._is_plain(entry, folder in self._roots):
                        return False
        return True

    def _is_plain(self, entry: os.DirEntry[str], on_path: bool) -> bool:
        is_folder, is_source = entry.is_dir(), entry.name.endswith(".py")
        if on_path and (is_source or entry.name.endswith(".so") or (is_folder and self._holds(entry, "__init__.py"))):
            name = entry.name.partition(".")[0]
            if name in sys.stdlib_module_names and name not in sys.modules:
                return False
        if is_source:
            return self._has_no_word(entry)
        is_looked_into = is_folder and entry.name[0] != "." and entry.name not in _NO_SOURCE
        if is_looked_into and entry.path not in self._roots and not self._holds(entry, "pyvenv.cfg"):
            if entry.is_symlink():
                return False
            self._waiting.append(entry.path)
        return True

    @staticmethod
    def _holds(folder: os.DirEntry[str], name: str) -> bool:
        return os.path.exists(os.path.join(folder.path, name))

    def _has_no_word(self, entry: os.DirEntry[str]) -> bool:
        # Never waits for a pipe, and never reads a device.
        if not entry.is_file():
            return True
        with open(entry.path, "rb") as file:
            source = file.read(self._bytes + 1)
        self._bytes -= len(source)
        return not any(word in source for word in _WORDS)

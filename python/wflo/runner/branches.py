"""Branch paths: which path an effect belongs to.

Owns the current path (a context variable, so that tasks inherit it) and the rule for new tasks: a
task made from project code begins a branch of its own (`0.0`, `0.1` ... in order of creation), one
made by a library inherits. Effects are counted per branch, so that concurrent branches do not
depend on each other's timing.
"""

from __future__ import annotations

import os
import sys
from contextvars import ContextVar

from ..origin import is_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

ROOT = "0"
"""The path of a step's main task."""

current: ContextVar[str] = ContextVar("wflo_branch", default=ROOT)

_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_ASYNCIO = os.path.join(_STDLIB, "asyncio") + os.sep

project_root: str | None = None
"""The package folder of a workflow that is itself installed among the libraries."""

_seen: dict[str, bool] = {}


def is_project(filename: str) -> bool:
    """Whether a file is the user's own: not the standard library's, not an installed package's."""
    known = _seen.get(filename)
    if known is None:
        known = _seen[filename] = _is_project(filename)
    return known


def _is_project(filename: str) -> bool:
    if filename.startswith("<"):
        return False
    path = os.path.abspath(filename)
    if project_root is not None and path.startswith(project_root):
        return True
    if is_ours(path) or "/site-packages/" in path or "/dist-packages/" in path:
        return False
    return not path.startswith(_STDLIB)


def made_by_project(frame: FrameType | None) -> bool:
    """Whether the innermost frame that is not asyncio's is project code."""
    while frame is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith(_ASYNCIO):
            return is_project(filename)
        frame = frame.f_back
    return False


def calling_frame() -> FrameType:
    """The frame that called the caller of this function."""
    return sys._getframe(2)  # pyright: ignore[reportPrivateUsage]


def forget() -> None:
    """Forgets which files are the project's, after `project_root` changed."""
    _seen.clear()

"""Where the user's own line is: the innermost frame that is not wflo's.

Owns the walk up the stack and the short form of a place (`workflow.py:12`). It reads frames and
file names only, never source text.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType

PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def is_ours(filename: str) -> bool:
    """Whether `filename` belongs to this package."""
    return filename.startswith(PACKAGE)


def calling_frame() -> FrameType | None:
    """The innermost frame outside this package, or none at interpreter start."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def short(filename: str, line: int | None, root: str | None = None) -> str:
    """`filename:line`, relative to `root` (default: the working directory) when it lies below it."""
    base = root or os.getcwd()
    if filename.startswith(base + os.sep):
        filename = filename[len(base) + 1 :]
    return filename if line is None else f"{filename}:{line}"


def calling_place() -> str | None:
    """The user's line that called into wflo, such as `workflow.py:12`."""
    frame = calling_frame()
    return None if frame is None else short(frame.f_code.co_filename, frame.f_lineno)


def place_of_code(code: CodeType, root: str | None = None) -> str:
    """Where a function begins (its first decorator, if it has one)."""
    return short(os.path.abspath(code.co_filename), code.co_firstlineno, root)

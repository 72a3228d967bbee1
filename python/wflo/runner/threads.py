"""Whether the other threads of this process could still do something by themselves.

Owns the look at their frames. A thread is quiet when it waits for an effect, when it is an idle
worker of an executor, or when it waits without a time limit for another thread. A thread that is
anywhere else, in a plain `time.sleep` for instance, is not: the step must not be suspended under
it. Used only after nothing has happened for a while, and twice, so that a thread caught between
two of its instructions is seen in the second look.
"""

from __future__ import annotations

import sys
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from types import FrameType


def alive() -> dict[int, FrameType]:
    """The frames of all Python threads but this one, by thread identifier."""
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
    frames.pop(get_ident(), None)
    return frames


def quiet(waiting: Container[int]) -> bool:
    """Whether every other thread is quiet; `waiting` holds those that wait for an effect."""
    return not busy(waiting)


def busy(waiting: Container[int]) -> list[int]:
    """The identifiers of the threads that are not quiet."""
    return [ident for ident, frame in alive().items() if ident not in waiting and not _blocked(frame)]


def _blocked(frame: FrameType) -> bool:
    name = frame.f_code.co_name
    module = frame.f_globals.get("__name__")
    values = frame.f_locals
    if module == "concurrent.futures.thread" and name == "_worker":
        return values.get("work_item") is None
    if module == "threading":
        if name in ("wait", "join") and values.get("timeout", 0) is None:
            return True
        if name == "_wait_for_tstate_lock":
            return values.get("block") is True and values.get("timeout") == -1
    return False

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


def busy(waiting: Container[int]) -> list[int]:
    """The identifiers of the other threads that are not quiet; those in `waiting` are."""
    return [ident for ident, frame in alive().items() if ident not in waiting and not _blocked(frame)]


def _blocked(frame: FrameType) -> bool:
    """Whether a thread waits, without a time limit, for what only another thread can do.

    One that has been woken and has not run since is still in its wait, so the wait's own lock or
    queue is looked at too.
    """
    name = frame.f_code.co_name
    module = frame.f_globals.get("__name__")
    values = frame.f_locals
    if module == "concurrent.futures.thread" and name == "_worker":
        queue = values.get("work_queue")
        return values.get("work_item") is None and queue is not None and queue.empty()
    if module != "threading":
        return False
    if name == "wait" and "waiter" in values:
        started = frame.f_back.f_back if frame.f_back is not None else None
        starting = started is not None and started.f_code.co_name == "start"
        return values.get("timeout", 0) is None and values["waiter"].locked() and not starting
    if name == "join":
        return values.get("timeout", 0) is None
    if name == "_wait_for_tstate_lock":
        return values.get("block") is True and values.get("timeout") == -1
    return False

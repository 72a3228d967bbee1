"""Effects that were called without `await`: they never happened, and the step must not succeed.

Owns finding them. Python itself knows which coroutines were never started: it warns when it frees
one, and never about one that was awaited, made a task, cancelled as a task, or closed. That warning
is taken over for wflo's own coroutines; those that are still referenced at the step's end are
looked for.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings

from ..errors import StepError
from ..origin import PACKAGE, is_ours, short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CoroutineType
    from typing import Any

_CONTEXT = os.path.join(PACKAGE, "context") + os.sep
_DEPTH = 4
"""How many calls are remembered of where a coroutine was made: past wflo's own to the user's line."""

_NAMES = {"Llm": "context.llm", "Database": "context.db", "Tools": "context.tools", "Http": "context.http"}

_found: list[tuple[str, str | None]] = []
"""What was called and where, of those that have been freed."""


class Forgotten(StepError):
    """An effect was called and never awaited."""

    def __init__(self, calls: list[tuple[str, str | None]]) -> None:
        name, place = calls[0]
        more = [where or what for what, where in calls[1:]]
        super().__init__(
            f"{name}(…) was called without `await`, so it never happened"
            + (f"; so were {', '.join(more[:5])}" if more else ""),
            code="WFLO-3313",
            hint=f"write `await {name}(…)`, in an `async def` that is awaited itself",
        )
        self.place = place


def watch() -> None:
    """Begins to notice coroutines of effects. Called before the step's code runs."""
    sys.set_coroutine_origin_tracking_depth(_DEPTH)
    warn: Any = getattr(warnings, "_warn_unawaited_coroutine", None)

    def noticed(coroutine: CoroutineType[Any, Any, Any]) -> None:
        if coroutine.cr_code.co_filename.startswith(_CONTEXT):
            _found.append(_call(coroutine))
        else:
            warn(coroutine)

    if warn is not None:
        warnings._warn_unawaited_coroutine = noticed  # type: ignore[attr-defined]


def check() -> None:
    """Raises `Forgotten` when an effect was called and never awaited. The step's code is over."""
    for found in gc.get_objects():
        if type(found) is _COROUTINE and found.cr_code.co_filename.startswith(_CONTEXT) and _is_new(found):
            _found.append(_call(found))
            found.close()
    if _found:
        raise Forgotten(_found)


async def _nothing() -> None:
    pass


_probe: Any = _nothing()
_COROUTINE: type[Any] = type(_probe)  # pyright: ignore[reportUnknownVariableType]
_probe.close()


def _is_new(coroutine: Any) -> bool:
    """Whether it has not begun (`inspect.getcoroutinestate`, whose import takes longer than a step)."""
    if coroutine.cr_running or coroutine.cr_frame is None:
        return False
    suspended = getattr(coroutine, "cr_suspended", None)
    return coroutine.cr_frame.f_lasti < 0 if suspended is None else not suspended


def _call(coroutine: Any) -> tuple[str, str | None]:
    """`context.db.execute` and `workflow.py:12`."""
    owner, _, method = coroutine.__qualname__.rpartition(".")
    name = f"{_NAMES.get(owner, 'context')}.{method}"
    if owner == "Random":
        name = "context.random" if method == "__call__" else f"context.random.{method}"
    for filename, line, _ in coroutine.cr_origin or ():
        if not is_ours(filename):
            return name, short(os.path.abspath(filename), line)
    return name, None

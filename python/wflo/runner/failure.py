"""What the engine is told about an exception that left user code.

Owns the `error` object of a `failed` frame: type, message, the user's traceback and place, and
the effect whose error it was. Imported only once something has failed.
"""

from __future__ import annotations

import os
import traceback

from ..errors import EffectError, WfloError
from ..origin import is_ours, short
from . import branches, hints

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_MESSAGE = 64 * 1024
MOST_TRACEBACK = 512 * 1024
"""The longest message and traceback sent, in characters."""

_ASYNCIO = os.path.join(os.path.dirname(os.__file__), "asyncio") + os.sep


def describe(error: BaseException, project: str, cancelled: str | None = None) -> dict[str, Any]:
    """The `error` object for an exception; `cancelled` is why the step was being cancelled."""
    found: dict[str, Any] = {
        "type": _clean(_type(error), 300),
        "message": _clean(_message(error), MOST_MESSAGE),
        "traceback": _clean(_traceback(error), MOST_TRACEBACK),
        "place": _place(error, project),
        "effect": None,
    }
    if cancelled is not None and type(error).__name__ in ("CancelledError", "StepCancelled"):
        found["message"] = _clean(f"the step was cancelled: {cancelled}", MOST_MESSAGE)
    effect = effect_of(error)
    if effect is not None:
        found["effect"] = {"path": effect[0], "seq": effect[1]}
    if isinstance(error, WfloError):
        found["code"] = error.code
    elif isinstance(error, SystemExit):
        found["code"], found["hint"] = "WFLO-3306", "return from the step, or raise an exception that says why"
    if found.get("hint") is None:
        hint = hints.hint_for(error, project)
        if hint is not None:
            found["hint"] = hint
    return found


def effect_of(error: BaseException | None) -> tuple[str, int] | None:
    """The effect whose error this is.

    An error raised from an effect's error, or while handling one, stands for that effect: a retry
    must make it anew. `raise ... from None` cuts the tie. A group stands for an effect when all
    that it holds do, and they are the same.
    """
    for _ in range(100):
        if error is None:
            return None
        if isinstance(error, EffectError) and error.effect is not None and error.effect[1] >= 0:
            return error.effect
        members: Any = getattr(error, "exceptions", None)
        if isinstance(members, tuple) and members:
            effects = {effect_of(member) for member in members}  # type: ignore
            if len(effects) == 1 and None not in effects:
                return effects.pop()
        if error.__cause__ is not None:
            error = error.__cause__
        elif error.__suppress_context__:
            return None
        else:
            error = error.__context__
    return None


def _type(error: BaseException) -> str:
    kind = type(error)
    module = kind.__module__
    return (
        kind.__qualname__ if module in ("builtins", "__main__") or is_wflo(module) else f"{module}.{kind.__qualname__}"
    )


def is_wflo(module: str) -> bool:
    """Whether a module is wflo's, whose names users know without it."""
    return module == "wflo" or module.startswith("wflo.")


def _message(error: BaseException) -> str:
    if isinstance(error, WfloError):
        return error.message
    if isinstance(error, SystemExit):
        return f"the step called sys.exit({error.code!r}); a step ends by returning"
    if isinstance(error, KeyboardInterrupt):
        return "the step was interrupted (KeyboardInterrupt)"
    try:
        return str(error) or type(error).__name__
    except Exception as problem:
        return f"<the message cannot be shown: {type(problem).__name__}>"


def _is_user(filename: str) -> bool:
    return not (is_ours(filename) or filename.startswith((_ASYNCIO, "<frozen ")))


def _traceback(error: BaseException) -> str:
    try:
        summary = traceback.TracebackException.from_exception(error, lookup_lines=False)
        _shorten(summary, set())
        return _without_hints("".join(summary.format()), error)
    except Exception as problem:
        return f"<the traceback cannot be shown: {type(problem).__name__}>\n"


def _shorten(summary: traceback.TracebackException | None, seen: set[int]) -> bool:
    """Leaves the frames of user code, and of libraries those where they were entered and left.

    Without frames of the user's an exception that another one merely came after is left out, so that
    the user's own lines come first. Whether any frame is the user's is returned.
    """
    if summary is None or id(summary) in seen:
        return False
    seen.add(id(summary))
    frames = [frame for frame in summary.stack if _is_user(frame.filename)]
    own = [branches.is_project(frame.filename) for frame in frames]
    is_own = any(own)
    summary.stack[:] = [
        frame for index, frame in enumerate(frames) if not _is_between(own, index) and (is_own or index + 1 == len(own))
    ]
    is_own |= _shorten(summary.__cause__, seen)
    if _shorten(summary.__context__, seen):
        is_own = True
    elif not summary.__suppress_context__:
        summary.__context__ = None
    for member in getattr(summary, "exceptions", None) or ():
        is_own |= _shorten(member, seen)
    return is_own


def _is_between(own: list[bool], index: int) -> bool:
    """Whether a frame is a library's and has a library's before and behind it."""
    return 0 < index < len(own) - 1 and not any(own[index - 1 : index + 2])


def _without_hints(text: str, error: BaseException) -> str:
    """A hint is shown once, below the traceback, and not also in the message of each exception."""
    for found in hints.chain(error):
        if isinstance(found, WfloError) and found.hint:
            text = text.replace(f"\n  hint: {found.hint}", "")
    return text


def _place(error: BaseException, project: str) -> str | None:
    """The innermost line of project code, else of any code but wflo's."""
    given = getattr(error, "place", None)
    if isinstance(error, WfloError) and isinstance(given, str):
        return given
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return short(os.path.abspath(error.filename), error.lineno, project)
    place: str | None = None
    own: str | None = None
    trace = error.__traceback__
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if _is_user(filename):
            place = short(os.path.abspath(filename), trace.tb_lineno, project)
            if branches.is_project(filename):
                own = place
        trace = trace.tb_next
    members: Any = getattr(error, "exceptions", None)
    if own is None and isinstance(members, tuple) and members:
        return _place(members[0], project)  # type: ignore
    return own or place


def _clean(text: str, most: int) -> str:
    text = text if len(text) <= most else text[: most - 20] + "\n... (cut)"
    return text.encode("utf-8", "replace").decode()

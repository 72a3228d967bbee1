"""The end of a step: everything it wrote must be in the workspace before it is called done.

Owns waiting for the step's own threads, running its exit handlers, and flushing its open files.
The process then ends at once: the interpreter's own shutdown would only cost time.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from _weakref import ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

_KINDS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)

_before: list[ref[Any]] = []
"""Files that were there when what is there was set apart."""

_newest: list[object] = []
"""Younger than what was set apart, and so in the sight of the collector, as long as nobody else sets something apart.

How much is set apart could be asked, and the answer is counted: that takes longer than a short step.
"""

_CLOSED = {"gzip": "GzipFile", "bz2": "BZ2File", "lzma": "LZMAFile", "zipfile": "ZipFile"}
"""What has an end of its own to write, and writes it when it is closed; by module."""


def set_apart() -> None:
    """Takes what is there out of the sight of the collector, and of the look for open files at the end.

    Before the user's code nearly all of it is the library's: looking through that again takes longer than the rest of
    a step's end. May be called again.
    """
    global _newest
    _before.extend(ref(file) for file in _those(_KINDS))
    gc.freeze()
    _newest = []


def settle() -> None:
    """Does what the interpreter's exit would do for the user: threads, exit handlers, files.

    Threads that are not daemons are waited for, as at the end of any Python program. Raises what
    an exit handler raises.
    """
    threading: Any = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()
    import atexit

    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    flush()


def flush() -> None:
    """Flushes the standard streams and every file that is still open for writing."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            continue  # A step may have closed or replaced them.
    if not any(found is _newest for found in gc.get_objects()):
        # The user's code has set something apart itself.
        gc.unfreeze()
    archives = tuple(getattr(sys.modules[module], name) for module, name in _CLOSED.items() if module in sys.modules)
    for found in tuple(_those(archives)):
        try:
            found.close()
        except Exception:
            continue
    for found in (*(file() for file in _before), *_those(_KINDS)):
        try:
            if found is not None and not found.closed:
                found.flush()
        except Exception:
            continue  # A pipe that nobody reads, or a file open for reading.


def _those(kinds: tuple[type, ...]) -> Iterator[Any]:
    """What is of these kinds, and is not set apart. Asks no object itself what it is."""
    return (found for found in gc.get_objects() if issubclass(type(found), kinds))


def leave(code: int) -> NoReturn:
    """Ends the process."""
    os._exit(code)

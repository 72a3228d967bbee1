"""The end of a step: everything it wrote must be in the workspace before it is called done.

Owns waiting for the step's own threads, running its exit handlers, and flushing its open files.
The process then ends at once: the interpreter's own shutdown would only cost time.
"""

from __future__ import annotations

import gc
import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


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
    kinds = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
    # Text first: its flush goes through the buffered writer below it.
    for found in gc.get_objects():
        if type(found) in kinds:
            try:
                if not found.closed:
                    found.flush()
            except Exception:
                continue  # A pipe that nobody reads, or a file open for reading.


def leave(code: int) -> NoReturn:
    """Ends the process."""
    os._exit(code)

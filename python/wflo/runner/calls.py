"""The model calls of stock clients, which the runner does not make itself.

Owns what is known here of them: which descriptors are connections to the model gateway, and what the
engine says of the calls on them. An open connection says nothing: it is kept alive between calls. While
recorded answers are replayed it matters, for a timer must not be skipped under a call that is about to
be answered, and must be under one that was given up the first time.
"""

from __future__ import annotations

import os
import socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .delivery import Frame

_FIRST_PAUSE, _LAST_PAUSE = 0.002, 0.1
"""How long until the engine is asked again, in seconds: ever more rarely."""

_monotonic = time.monotonic


def _gateway() -> frozenset[tuple[str, int]]:
    """Where the stock model clients of this process are pointed to."""
    found: set[tuple[str, int]] = set()
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        host, colon, port = os.environ.get(name, "").partition("://")[2].partition("/")[0].rpartition(":")
        if colon and port.isascii() and port.isdigit() and host.startswith("127."):
            found.add((host, int(port)))
    return frozenset(found)


_GATEWAY = _gateway()


def is_gateway(fd: int) -> bool:
    """Whether a descriptor is a connection to the model gateway."""
    if not _GATEWAY:
        return False
    # Not a duplicate of it: where the descriptor is no socket, that would stay open for good, and whoever
    # reads the other end of a pipe would never see it closed.
    try:
        connection = socket.socket(fileno=fd)
    except OSError:
        return False
    try:
        return connection.getpeername() in _GATEWAY
    except OSError:
        return False
    finally:
        connection.detach()


class Calls:
    """What the engine says of the calls, asked while the step is idle."""

    def __init__(self, known: bool) -> None:
        self._known = known
        self._n = 0
        self._said: str | None = None
        self._ask_at: float | None = None
        self._pause = _FIRST_PAUSE

    def forget(self) -> None:
        """The step has gone on: what was said is old."""
        self._n += 1
        self._said, self._ask_at, self._pause = None, None, _FIRST_PAUSE

    def take(self, frame: Frame) -> None:
        """Takes in the engine's answer."""
        if frame.get("n") == self._n:
            self._said = str(frame.get("state"))

    def state(self, connections: int, send: Callable[[dict[str, Any]], None]) -> str | None:
        """`quiet`, `answering` or `running`; none until the engine has said it."""
        if not connections or not self._known:
            return "quiet"
        now = _monotonic()
        if self._said == "quiet":
            return self._said
        if self._ask_at is None or now >= self._ask_at:
            self._n += 1
            self._ask_at = now + self._pause
            self._pause = min(2 * self._pause, _LAST_PAUSE)
            send({"type": "calls", "n": self._n, "open": connections})
        return self._said

    @property
    def pause(self) -> float:
        """Seconds until the engine is to be asked again."""
        return max(0.0, (self._ask_at or 0.0) - _monotonic())

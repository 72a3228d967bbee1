"""One effect that has been asked for, and what will hold its answer."""

from __future__ import annotations

from ..errors import effect_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _thread
    from collections import deque
    from collections.abc import Callable
    from typing import Any

    from .delivery import Key
    from .files import Restorer


class Waiter:
    """One effect that has been asked for."""

    __slots__ = ("chunks", "done", "error", "files", "key", "lock", "ok", "order", "thread", "wake")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.done = False
        self.ok: Any = None
        self.error: dict[str, Any] | None = None
        self.order: int | None = None
        self.chunks: deque[Any] | None = None
        self.files: Restorer | None = None
        self.lock: _thread.LockType | None = None
        self.thread: int | None = None
        self.wake: Callable[[], None] | None = None

    def result(self) -> Any:
        """The answer, or the error it stands for."""
        if self.error is not None:
            raise effect_error(self.error, self.key)
        return self.ok

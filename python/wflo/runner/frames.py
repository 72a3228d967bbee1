"""Frames: a 4-byte big-endian length and one JSON object in UTF-8, at most 8 MiB.

Owns the bytes on the socket and nothing of their meaning. `Channel.send` may be called from any
thread; `Channel.receive` by one thread at a time.

The descriptor is kept where step code is unlikely to close it by accident, is not inherited by
programs that the step starts, and is checked before each write: when step code did close it and
opened a file of its own under that number, the file is left alone.
"""

from __future__ import annotations

import _thread
import os
import select

from .. import values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_FRAME = 8 * 1024 * 1024
"""The largest frame body, in bytes."""

# Bound now: step code may replace these in their modules.
_read, _write, _fstat, _getpid = os.read, os.write, os.fstat, os.getpid
_poll, _POLLIN, _POLLOUT = select.poll, select.POLLIN, select.POLLOUT


class ProtocolError(Exception):
    """The other side broke the protocol; there is no way on."""


class FrameTooLarge(Exception):
    """A frame of `size` bytes was not sent."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the frame has {size:,} bytes; the most is {MAX_FRAME:,}")
        self.size = size


class ChannelClosed(Exception):
    """The engine is gone, or step code closed the descriptor."""


class Channel:
    """One end of the protocol's socket."""

    def __init__(self, fd: int) -> None:
        self.fd = _out_of_the_way(fd)
        os.set_blocking(self.fd, False)
        self._owner = _getpid()
        status = _fstat(self.fd)
        self._identity = (status.st_dev, status.st_ino)
        self._sending = _thread.allocate_lock()
        self._buffer = bytearray()
        self._ended = False
        self._early: list[dict[str, Any]] = []
        os.register_at_fork(after_in_child=self._leave_child)

    def _leave_child(self) -> None:
        """A forked child is not the step: it must neither write nor read frames."""
        try:
            os.close(self.fd)
        except OSError:
            pass
        self.fd = -1

    @property
    def forked(self) -> bool:
        """Whether this process is a fork of the one that owns the channel."""
        return self.fd < 0 or _getpid() != self._owner

    def _check(self) -> None:
        if self.forked:
            raise ChannelClosed("this process was forked from the step")
        try:
            status = _fstat(self.fd)
        except OSError:
            raise ChannelClosed("the step closed wflo's descriptor") from None
        if (status.st_dev, status.st_ino) != self._identity:
            raise ChannelClosed("the step closed wflo's descriptor")

    @staticmethod
    def pack(frame: dict[str, Any]) -> bytes:
        """The frame's bytes. Its values must be plain JSON.

        Raises `FrameTooLarge` above `MAX_FRAME`.
        """
        body = values.encode(frame)
        if len(body) > MAX_FRAME:
            raise FrameTooLarge(len(body))
        return len(body).to_bytes(4, "big") + body

    def send(self, frame: dict[str, Any]) -> None:
        """Writes one frame, whole. While the engine does not read, what it sends is taken in."""
        self.send_packed(self.pack(frame))

    def send_packed(self, data: bytes) -> None:
        """Writes frames that `pack` made."""
        with self._sending:
            self._check()
            view = memoryview(data)
            while view:
                try:
                    view = view[_write(self.fd, view) :]
                except BlockingIOError:
                    self._wait_to_write()
                except (BrokenPipeError, ConnectionResetError):
                    raise ChannelClosed("the engine closed the connection") from None

    def _wait_to_write(self) -> None:
        # No reading here: `receive` belongs to another thread, which goes on by itself. A lone
        # thread cannot deadlock either: the engine stops reading only while it has much to do, and
        # what it does never waits for this side to read (it queues its answers).
        poll = _poll()
        poll.register(self.fd, _POLLOUT)
        poll.poll()

    def wait(self, timeout_ms: float | None) -> bool:
        """Waits until something can be received; false when the time passed first."""
        if self._ready():
            return True
        self._check()
        poll = _poll()
        poll.register(self.fd, _POLLIN)
        return bool(poll.poll(timeout_ms))

    def pending(self) -> bool:
        """Whether a frame has arrived that nobody has been given, as far as can be told without waiting."""
        return bool(self._early) or self.wait(0)

    def _ready(self) -> bool:
        have = len(self._buffer)
        return have >= 4 and have - 4 >= int.from_bytes(self._buffer[:4], "big")

    def receive(self) -> list[dict[str, Any]]:
        """The frames that have arrived; empty when none has. Does not block.

        Raises `ChannelClosed` at the end of the stream and `ProtocolError` for anything that is
        not a frame. A length over `MAX_FRAME` is refused before anything is read for it.
        """
        while not self._ended:
            self._check()
            try:
                data = _read(self.fd, 1 << 16)
            except BlockingIOError:
                break
            except ConnectionResetError:
                data = b""
            if not data:
                self._ended = True
                break
            self._buffer += data
            if len(self._buffer) > MAX_FRAME:
                break
        frames = self._split()
        if not frames and self._ended:
            raise ChannelClosed("the engine closed the connection")
        return frames

    def _split(self) -> list[dict[str, Any]]:
        frames: list[dict[str, Any]] = []
        start, have = 0, len(self._buffer)
        while have - start >= 4:
            size = int.from_bytes(self._buffer[start : start + 4], "big")
            if size > MAX_FRAME:
                raise ProtocolError(f"a frame of {size:,} bytes was announced; the most is {MAX_FRAME:,}")
            if have - start - 4 < size:
                break
            frames.append(_object(bytes(self._buffer[start + 4 : start + 4 + size])))
            start += 4 + size
        if start:
            del self._buffer[:start]
        return frames

    def receive_one(self) -> dict[str, Any]:
        """Blocks until there is a frame. Used before a step runs; what else came is kept."""
        while True:
            if self._early:
                return self._early.pop(0)
            self.wait(None)
            self._early.extend(self.receive())

    def take_early(self) -> list[dict[str, Any]]:
        """The frames that came together with one that `receive_one` returned."""
        early, self._early = self._early, []
        return early


def _object(body: bytes) -> dict[str, Any]:
    try:
        frame: object = values.decode(body)
    except ValueError as error:
        raise ProtocolError(f"a frame is not JSON: {error}") from None
    if not isinstance(frame, dict):
        raise ProtocolError("a frame is not a JSON object")
    found: dict[str, Any] = frame  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(found.get("type"), str):
        raise ProtocolError('a frame has no "type"')
    return found


def _out_of_the_way(fd: int) -> int:
    """A close-on-exec duplicate with a high number; the given descriptor is closed."""
    import fcntl

    for least in (1000, 500, 200, 3):
        try:
            moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least)
        except OSError:
            continue
        os.close(fd)
        return moved
    raise ProtocolError(f"descriptor {fd} (WFLO_RUNNER_FD) is not open")

"""Effects: asking the engine, and waiting for its answer.

Owns the table of effects that wait, and when the step counts as suspended. Who reads the socket while
threads are blocked is `blocked`'s.
What an effect means is `context`'s; identities are `identity`'s, the order of answers is
`delivery`'s, the event loop is `loop`'s.

**Architecture Invariant:** nothing here raises into step code to suspend it. A step that waits
stays in its wait until an answer comes or its process ends.
"""

from __future__ import annotations

import _thread
import os
import sys
from _thread import get_ident

from ..errors import StepError, ValueTooLarge
from . import threads
from .blocked import Blocked
from .calls import Calls
from .delivery import Deliveries, Marks
from .frames import Channel, ChannelClosed, FrameTooLarge, ProtocolError
from .identity import Identities
from .patience import Patience
from .waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, Protocol

    from .delivery import Frame, Key

    class Loop(Protocol):
        """What the broker needs of an event loop; `loop.StepLoop` is one."""

        def wake(self) -> None:
            """Makes the loop look for answers again, from any thread."""
            ...

        def cancel_step(self, reason: str) -> None:
            """Cancels the step's main task, from any thread."""
            ...

        @property
        def idle(self) -> bool:
            """Whether the loop waits in its selector, where it reads the socket itself."""
            ...


FIRST_REPEAT_MS, LAST_REPEAT_MS = 50, 12_800
"""When `suspended` is repeated: after 50 ms, 200 ms, ... and then every 12.8 s."""


class Broker:
    """The effects of one running step."""

    def __init__(
        self,
        channel: Channel,
        replay_length: int = 0,
        features: frozenset[str] = frozenset(),
        marks: Marks | None = None,
    ) -> None:
        self.channel = channel
        self.features = features
        self.pending: dict[Key, Waiter] = {}
        self.deliveries = Deliveries(replay_length, marks)
        self.loop: Loop | None = None
        self.main_thread = get_ident()
        self.ended = False
        self.cancelled: str | None = None
        self.project = ""
        self.identities = Identities()
        self.calls = Calls("calls" in features)
        self._patience = Patience()
        self.lock = _thread.RLock()
        self.blocked = Blocked(self)
        self._suspended = False
        self._repeats = 0
        self._announced = False
        for frame in channel.take_early():
            self._take(frame)

    # Asking

    def check_usable(self) -> None:
        """Raises when effects cannot be made here and now."""
        if self.channel.forked:
            raise StepError(
                "a forked process cannot use the step's context",
                code="WFLO-3303",
                hint="use threads with context.branch(name), or do it before or after the fork",
            )
        if self.ended:
            raise StepError(
                "the step has ended; its context cannot be used any more",
                code="WFLO-3303",
                hint="await everything that the step starts before it returns",
            )

    def ask(self, path: str, kind: str, name: str, request: dict[str, Any]) -> Waiter:
        """Sends an effect and returns what will hold its answer."""
        self.check_usable()
        with self.lock:
            seq = self.identities.seq(path)
            frame = {"type": "effect", "path": path, "seq": seq, "kind": kind, "name": name, "request": request}
            frame["after"] = self.deliveries.place
            try:
                packed = self.channel.pack(frame)
            except FrameTooLarge as error:
                raise ValueTooLarge(
                    f"the request of context.{kind} has {error.size:,} bytes; the most is 8 MiB",
                    code="WFLO-3302",
                    hint="write large data to a file in the workspace, or send it in parts",
                ) from None
            self.identities.made(path)
            waiter = Waiter((path, seq))
            self.pending[waiter.key] = waiter
            self._suspended = False
            self._patience.progress()
            self.deliveries.marks.met(waiter.key)
            self._send(packed)
        return waiter

    def done(self, waiter: Waiter, result: dict[str, Any]) -> None:
        """Reports what a tool did, and waits for its recorded result under the same identity."""
        path, seq = waiter.key
        packed = self.channel.pack({"type": "effect_done", "path": path, "seq": seq, "result": result})
        with self.lock:
            waiter.done, waiter.ok, waiter.error = False, None, None
            self.pending[waiter.key] = waiter
            self._suspended = False
            self._send(packed)

    def put_back(self, waiter: Waiter) -> None:
        """Lets the engine put a recorded tool's files back, and waits for its result.

        Blocks on an event loop too: until the files are there, nothing else of the step may run.
        """
        from .files import Restorer

        waiter.files = Restorer(self.project)
        with self.lock:
            self.deliveries.again(waiter.order)
            self.done(waiter, {"restore": True})
        self.wait(waiter)
        if waiter.files.error is not None:
            raise StepError(
                f"the files that a tool wrote cannot be put back: {waiter.files.error}",
                code="WFLO-3311",
                hint="raise disk_limit of the sandbox, or begin again with `wflo runs retry ID`",
            ) from waiter.files.error

    def abandon(self, waiter: Waiter) -> None:
        """Step code cancelled its wait. The engine is told when it knows the word."""
        with self.lock:
            if waiter.key in self.pending:
                self.give_up(waiter)

    def give_up(self, waiter: Waiter) -> None:
        """As `abandon`, also for a tool, which runs here while the engine waits for it."""
        with self.lock:
            self.pending.pop(waiter.key, None)
            if self.ended:
                return
            self._suspended = False
            self._patience.progress()
            self.deliveries.marks.met(waiter.key, cancelled=True)
            if "effect_cancelled" in self.features and not self.channel.forked:
                path, seq = waiter.key
                frame = {"type": "effect_cancelled", "path": path, "seq": seq, "after": self.deliveries.place}
                self._send(self.channel.pack(frame))

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None:
        """Sends a log line."""
        self.check_usable()
        frame: dict[str, Any] = {"type": "log", "level": level, "message": message, "fields": fields}
        try:
            packed = self.channel.pack(frame)
        except FrameTooLarge:
            frame = {"type": "log", "level": level, "message": message[: 1 << 16], "fields": {}}
            packed = self.channel.pack(frame)
        self._send(packed)

    def tell(self, frame: dict[str, Any]) -> None:
        """Sends a small frame that asks for no effect."""
        self._send(self.channel.pack(frame))

    def _send(self, packed: bytes) -> None:
        try:
            self.channel.send_packed(packed)
        except ChannelClosed as error:
            leave(str(error))

    # Receiving

    def pump(self) -> None:
        """Takes in the frames that have arrived."""
        try:
            frames = self.channel.receive()
        except ChannelClosed as error:
            leave(str(error))
        except ProtocolError as error:
            leave(f"the engine broke the protocol: {error}")
        with self.lock:
            for frame in frames:
                self._take(frame)

    def _take(self, frame: Frame) -> None:
        kind = frame["type"]
        if kind in ("effect_result", "effect_chunk", "effect_pending"):
            path, seq = frame.get("path"), frame.get("seq")
            if not isinstance(path, str) or not isinstance(seq, int):
                leave(f"the engine broke the protocol: {kind} without path and seq")
            if (path, seq) not in self.pending and "order" not in frame and "place" not in frame:
                return
            waiter = self.pending.get((path, seq))
            if kind == "effect_pending":
                self.deliveries.running((path, seq))
            elif kind == "effect_chunk" and waiter is not None and waiter.files is not None:
                # At once, and not when its turn comes: it may be larger than what fits in memory.
                waiter.files.apply(frame.get("delta") or {})
            else:
                self.deliveries.add((path, seq), frame)
        elif kind == "calls":
            self.calls.take(frame)
        elif kind == "cancel":
            self.cancelled = str(frame.get("reason") or "cancelled")
            if self.loop is not None:
                self.loop.cancel_step(self.cancelled)
        # Other types are of a later version of the protocol, which only adds.

    def _complete(self, key: Key, frame: Frame) -> None:
        """Hands a frame to whoever waits for it."""
        waiter = self.pending[key]
        self._suspended = False
        self._patience.progress()
        if frame["type"] == "effect_chunk":
            if waiter.chunks is not None:
                waiter.chunks.append(frame.get("delta"))
        else:
            del self.pending[key]
            error = frame.get("error")
            waiter.error = error if isinstance(error, dict) else None  # type: ignore[assignment]
            waiter.ok = frame.get("ok")
            waiter.order = frame.get("order")
            waiter.done = True
        if waiter.thread is not None:
            self.blocked.woken(waiter.thread)
        if waiter.wake is not None:
            waiter.wake()

    def deliver(self) -> bool:
        """Gives out the next result in order. False when there is none whose time has come."""
        with self.lock:
            if self.deliveries.replaying and self.blocked.work_on_it():
                return False
            found = self.deliveries.next(self.pending)
            if found is None:
                return False
            self._complete(*found)
        return True

    def deliver_any(self) -> bool:
        """Gives out a result although the recorded order has another one first."""
        with self.lock:
            found = self.deliveries.any(self.pending)
            if found is None:
                return False
            self._complete(*found)
        return True

    def stuck(self, quiet: bool) -> bool:
        """Whether the next recorded answer will not be asked for, so that another must be given.

        `quiet` says that nothing in this process goes on by itself.
        """
        with self.lock:
            if self.deliveries.restoring:
                return False
            unanswered = [key for key in self.pending if not self.deliveries.answered(key)]
            others, due = bool(threads.alive()), self.deliveries.due
            if self._patience.expects(quiet=quiet, threads=others, unanswered=bool(unanswered), sure=due):
                return False
            for key in unanswered:
                self.deliveries.running(key)
        return True

    def may_skip_timer(self, *, runs: bool) -> bool:
        """Whether the earliest timer may fire at once, to get to the next recorded place or answer.

        Not while an effect, or a call of a stock client (`runs`), runs anew: it has its full time. Unless
        the step did something here the first time before any further answer came: then that effect was
        not answered in time either.
        """
        runs = runs or self.deliveries.runs_anew(self.pending)
        return (self.deliveries.due or not runs) and self._patience.skip()

    @property
    def impatient(self) -> bool:
        """Whether replay has waited too long for its next answer to be asked for."""
        return self._patience.over

    # Suspension

    @property
    def waits(self) -> bool:
        """Whether the step waits for at least one effect."""
        return bool(self.pending)

    def threads_quiet(self) -> bool:
        """Whether no other thread could go on by itself."""
        return self.blocked.quiet()

    @property
    def suspended(self) -> bool:
        """Whether `suspended` was sent and nothing has happened since."""
        return self._suspended

    def repeat_ms(self) -> float:
        """How long until `suspended` is said again.

        The engine judges each one by what it knows then: an effect may not be a durable wait yet
        when the first arrives, or a model call of a stock client may still be under way.
        """
        return float(min(FIRST_REPEAT_MS * 4**self._repeats, LAST_REPEAT_MS))

    def send_suspended(self, *, again: bool = False) -> None:
        """Tells the engine that only its answers can wake the step."""
        with self.lock:
            if self._suspended is not again or not self.pending:
                return
            self._repeats = self._repeats + 1 if again else 0
            self._suspended = True
            on = [{"path": path, "seq": seq} for path, seq in sorted(self.pending)]
            self._send(self.channel.pack({"type": "suspended", "on": on}))

    def kept_awake(self) -> None:
        """Says once, in the log, which threads keep a waiting step in memory."""
        if self._announced:
            return
        self._announced = True
        names = self.blocked.names()
        self.log("info", "threads keep this step in memory while it waits", {"threads": names})

    def wait(self, waiter: Waiter, *, chunk: bool = False) -> None:
        """Blocks until the answer (or, with `chunk`, a part of it) is here."""
        self.blocked.wait(waiter, chunk)

    def readable(self, timeout_ms: float | None) -> bool:
        """Whether a frame has come within so many milliseconds."""
        try:
            return self.channel.wait(timeout_ms)
        except ChannelClosed as error:
            leave(str(error))


def leave(reason: str) -> NoReturn:
    """Ends the process without running any step code: no `finally:` block, no exit handler."""
    try:
        sys.__stderr__.flush() if sys.__stderr__ else None
        os.write(2, f"wflo runner: {reason}\n".encode("utf-8", "replace"))
    except (OSError, ValueError):
        pass
    os._exit(70)

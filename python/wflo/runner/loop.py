"""The event loop that an async step runs on.

Owns three things that asyncio alone does not give: branch paths for tasks, giving out one answer
at a time when nothing else is ready, and knowing when the step can only be woken by the engine.
All three are done through the loop's public seams: `create_task`, `time` and its selector.

While recorded answers are being replayed, timers do not wait for real time: when the step is idle
and the next recorded answer belongs to an effect it has not asked for yet, the earliest timer
fires at once. A time-out that fired the first time so fires again, at the same point. While an
effect runs anew, timers are real: it has its full time, unless the journal says that the step went
on without it.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from _thread import get_ident

from . import branches, calls
from .blocked import SETTLE_MS
from .broker import Broker, leave
from .frames import ChannelClosed
from .waiter import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any


_SETTLE = SETTLE_MS / 1000
_STARVED_SECONDS = 0.05
"""How long a loop that is never idle may keep an answer waiting."""

_monotonic = time.monotonic


class IdleSelector(selectors.DefaultSelector):
    """A selector that knows when the loop is idle, which is when the broker gets its turn."""

    def __init__(self, broker: Broker) -> None:
        super().__init__()
        self._broker = broker
        self._fd = broker.channel.fd
        self._own: frozenset[Any] = frozenset()
        self._late_since: float | None = None
        self._awake = 0.05
        self.loop: StepLoop | None = None
        self.idle = False

    def own(self) -> None:
        """Registers the protocol's socket; what is registered now does not count as the step's."""
        self.register(self._fd, selectors.EVENT_READ)
        self._own = frozenset(self.get_map())

    @property
    def _others(self) -> list[int]:
        """The step's own descriptors here."""
        found = self.get_map()
        return [] if len(found) <= len(self._own) else [found[fd].fd for fd in list(found) if fd not in self._own]

    @property
    def _foreign(self) -> bool:
        """Whether the step has a descriptor of its own here.

        Connections to the model gateway do not count: they stay open between calls, and the engine
        itself knows whether a call is under way on one.
        """
        return not all(calls.is_gateway(fd) for fd in self._others)

    @property
    def _connections(self) -> int:
        """How many connections to the model gateway the step has here."""
        return sum(calls.is_gateway(fd) for fd in self._others)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Ready descriptors. With none ready and nothing to run, answers are given out first."""
        if timeout is not None and timeout <= 0:
            events = self._events(0)
            if self._broker.deliveries and self._starved():
                self._broker.deliver()
            return events
        self._late_since = None
        self.idle = True
        try:
            return self._idle(timeout)
        finally:
            self.idle = False

    def _starved(self) -> bool:
        now = _monotonic()
        if self._late_since is None:
            self._late_since = now
        if now - self._late_since < _STARVED_SECONDS:
            return False
        self._late_since = None
        return True

    def _events(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(timeout)
        if any(key.fd == self._fd for key, _ in events):
            self._broker.pump()
            events = [(key, mask) for key, mask in events if key.fd != self._fd]
        return events

    def _idle(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Runs until the loop has something to do.

        The loop has nothing ready when this is called, so whatever becomes ready does so here: a
        descriptor, a timer, or an answer given out.
        """
        broker, loop = self._broker, self.loop
        assert loop is not None
        loop.woken = False
        broker.calls.forget()
        until = None if timeout is None else _monotonic() + timeout
        settled = False
        repeat_at: float | None = None
        while True:
            events = self._events(0)
            if events:
                return events
            while broker.deliver():
                if loop.woken:
                    return []
            if loop.woken:
                return []
            left = None if until is None else until - _monotonic()
            if left is not None and left <= 0:
                return []
            wait = left
            if broker.deliveries.replaying:
                if not broker.stuck(not self._foreign and broker.threads_quiet()):
                    wait = _least(left, 0.02)
                elif (state := broker.calls.state(self._connections, broker.tell)) in (None, "answering"):
                    wait = _least(left, broker.calls.pause)
                elif timeout is not None and broker.may_skip_timer(runs=state == "running"):
                    # An answer was on its way to the step before the engine said that none is.
                    events = self._events(0)
                    if not events:
                        loop.skip(timeout)
                    return events
                elif state == "running":
                    wait = _least(left, broker.calls.pause)
                elif (timeout is None or broker.impatient) and (
                    broker.deliver_any() or not broker.deliveries.replaying
                ):
                    continue
            elif broker.waits and timeout is None and not self._foreign:
                if broker.suspended:
                    now = _monotonic()
                    repeat_at = now + broker.repeat_ms() / 1000 if repeat_at is None else repeat_at
                    if now >= repeat_at:
                        repeat_at = None
                        broker.send_suspended(again=True) if broker.threads_quiet() else None
                        continue
                    wait = repeat_at - now
                elif not settled:
                    settled, wait = True, _SETTLE
                elif broker.threads_quiet():
                    broker.send_suspended()
                    continue
                else:
                    broker.kept_awake() if self._awake >= 1.0 else None
                    self._awake = wait = min(self._awake * 2, 1.0)
                    settled = False
            try:
                broker.channel.wait(0)
            except ChannelClosed as error:
                leave(str(error))
            events = self._events(wait)
            if events:
                return events


def _least(left: float | None, most: float) -> float:
    return most if left is None else min(left, most)


class StepLoop(asyncio.SelectorEventLoop):
    """The event loop of one step."""

    def __init__(self, broker: Broker) -> None:
        self._skew = 0.0
        self._broker = broker
        self._chooser = IdleSelector(broker)
        super().__init__(self._chooser)
        self._chooser.loop = self
        self._chooser.own()
        self._thread = get_ident()
        self.woken = False
        self.step: asyncio.Task[Any] | None = None
        broker.loop = self

    @property
    def idle(self) -> bool:
        """Whether the loop waits in its selector, where it reads the socket itself."""
        return self._chooser.idle

    def time(self) -> float:
        """Seconds, as `time.monotonic()` plus what replay skipped."""
        return _monotonic() + self._skew

    def skip(self, seconds: float) -> None:
        """Moves the clock so that the earliest timer fires now."""
        self._skew += seconds

    def wake(self) -> None:
        """Makes the loop look again, from another thread."""
        self.call_soon_threadsafe(_nothing)

    def cancel_step(self, reason: str) -> None:
        """Cancels the step's main task, from any thread."""
        if self.step is None:
            return
        if get_ident() == self._thread:
            self.step.cancel(reason)
            self.woken = True
        else:
            self.call_soon_threadsafe(self.step.cancel, reason)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        """Makes a task, on a branch of its own when project code asked for it."""
        if not branches.made_by_project(branches.calling_frame()):
            return super().create_task(coro, **options)
        context = options.get("context")
        if context is not None:
            parent: str = context.get(branches.current, branches.ROOT)
            context.run(branches.current.set, self._broker.identities.child(parent))
            return super().create_task(coro, **options)
        token = branches.current.set(self._broker.identities.child(branches.current.get()))
        try:
            return super().create_task(coro, **options)
        finally:
            branches.current.reset(token)

    async def answer(self, waiter: Waiter, *, chunk: bool = False) -> None:
        """Waits until the answer (or, with `chunk`, a part of it) is here."""
        try:
            while not (waiter.done or (chunk and waiter.chunks)):
                future: asyncio.Future[None] = self.create_future()
                waiter.wake = self._waker(future)
                await future
        finally:
            waiter.wake = None
            if not waiter.done and not chunk:
                self._broker.abandon(waiter)

    def _waker(self, future: asyncio.Future[None]) -> Callable[[], None]:
        def finish() -> None:
            if not future.done():
                future.set_result(None)

        def wake() -> None:
            if get_ident() == self._thread:
                finish()
                self.woken = True
            else:
                self.call_soon_threadsafe(finish)

        return wake


def _nothing() -> None:
    pass


def run(broker: Broker, main: Coroutine[Any, Any, Any]) -> Any:
    """Runs a step to its end, as `asyncio.run` would, and returns what it returned."""
    loop = StepLoop(broker)
    asyncio.set_event_loop(loop)
    try:
        loop.step = loop.create_task(main)
        if broker.cancelled is not None:
            loop.cancel_step(broker.cancelled)
        return loop.run_until_complete(loop.step)
    finally:
        _wind_up(loop)


def _wind_up(loop: StepLoop) -> None:
    """What `asyncio.run` does at its end: left-over tasks are cancelled and awaited."""
    loop.step = None
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    for task in left:
        if not task.cancelled() and task.exception() is not None:
            loop.call_exception_handler(
                {"message": "a task failed while the step ended", "exception": task.exception(), "task": task}
            )

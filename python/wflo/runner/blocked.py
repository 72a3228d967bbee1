"""Threads and sync steps that are blocked until an answer comes: one of them reads the socket for all.

Owns who that is, and which threads wait. What is read is the broker's.
"""

from __future__ import annotations

import _thread
import sys
from _thread import get_ident

from ..errors import StepCancelled
from . import threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .broker import Broker
    from .waiter import Waiter

SETTLE_MS = 5.0
"""How long a step is idle before it says so: quick effects need no `suspended` frame."""


class Blocked:
    """The blocked threads of one running step."""

    __slots__ = ("_broker", "_reading", "_waiting", "_woken")

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._reading = _thread.allocate_lock()
        self._waiting: dict[int, Waiter] = {}
        self._woken: set[int] = set()

    def wait(self, waiter: Waiter, chunk: bool) -> None:
        """Blocks until the answer (or, with `chunk`, a part of it) is here."""
        broker, me = self._broker, get_ident()
        lock = waiter.lock = _thread.allocate_lock()
        lock.acquire()
        waiter.thread = me
        waiter.wake = lambda: lock.release() if lock.locked() else None
        self._woken.discard(me)
        self._waiting[me] = waiter
        if broker.loop is not None:
            broker.loop.wake()
        try:
            while not (waiter.done or (chunk and waiter.chunks)):
                if broker.cancelled is not None and broker.loop is None and me == broker.main_thread:
                    raise StepCancelled(broker.cancelled)
                if broker.loop is not None and broker.loop.idle:
                    lock.acquire(True, 0.25)
                elif self._reading.acquire(False):
                    try:
                        if not waiter.done:
                            self._lead()
                    finally:
                        self._reading.release()
                else:
                    lock.acquire(True, 0.05)
        finally:
            self._waiting.pop(me, None)
            waiter.wake = None
            self._pass_on()
            if not waiter.done and not chunk:
                broker.abandon(waiter)

    def woken(self, thread: int) -> None:
        """This thread has got its answer."""
        self._woken.add(thread)

    def work_on_it(self) -> bool:
        """Whether a thread that got a replayed result still works with it."""
        if not self._woken:
            return False
        alive = threads.alive()
        asleep = self._asleep()
        self._woken = {ident for ident in self._woken if ident in alive and ident not in asleep}
        return any(ident in self._woken for ident in threads.busy(self._asleep()))

    def quiet(self) -> bool:
        """Whether no other thread could go on by itself."""
        return not threads.busy(self._asleep())

    def names(self) -> list[str]:
        """The names of those that could."""
        threading = sys.modules.get("threading")
        active: dict[int, Any] = getattr(threading, "_active", {})
        return sorted(str(getattr(active.get(ident), "name", ident)) for ident in threads.busy(self._asleep()))

    def _asleep(self) -> set[int]:
        """The threads that wait for an answer which has not come."""
        return {ident for ident, waiter in list(self._waiting.items()) if not waiter.done and not waiter.chunks}

    def _pass_on(self) -> None:
        """Wakes one other waiting thread: it reads the socket from here on."""
        with self._broker.lock:
            for other in self._broker.pending.values():
                if other.lock is not None and other.wake is not None and other.lock.locked():
                    other.wake()
                    return

    def _lead(self) -> None:
        """One round of reading for all threads."""
        broker = self._broker
        if broker.deliver():
            return
        if broker.loop is not None:
            # The event loop's thread is blocked in step code: read for it, for a moment at a time.
            if broker.readable(50.0):
                broker.pump()
            return
        if broker.deliveries.replaying and broker.deliveries:
            if broker.readable(SETTLE_MS):
                broker.pump()
            elif not broker.deliver() and broker.stuck(self.quiet()):
                broker.deliver_any()
            return
        if broker.suspended:
            if broker.readable(broker.repeat_ms()):
                broker.pump()
            else:
                broker.send_suspended(again=True)
        elif broker.readable(SETTLE_MS):
            broker.pump()
        elif not threads.alive() or (self.quiet() and not broker.readable(20.0) and self.quiet()):
            broker.send_suspended()
        elif broker.readable(50.0):
            broker.pump()

"""How a context reaches the broker: awaited in async steps, directly in sync ones.

Owns the check that an effect is made where its branch lives. The requests themselves stand with
their nouns (`llm`, `db`, ...), which are the same for both.
"""

from __future__ import annotations

import sys
from _thread import get_ident

from ..errors import StepError, effect_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from ..runner.broker import Broker
    from ..runner.waiter import Waiter

    Request: TypeAlias = "dict[str, Any]"


class Calls:
    """What both ways share."""

    __slots__ = ("broker",)

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    def path(self) -> str:
        """The branch that an effect made here belongs to."""
        raise NotImplementedError

    def branch(self, name: str) -> BranchCalls:
        """Calls for a thread."""
        self.broker.check_usable()
        return BranchCalls(self.broker, self.broker.identities.named(self.path(), name))


class AsyncCalls(Calls):
    """Effects of an async step: each is awaited on the step's event loop."""

    __slots__ = ()

    def path(self) -> str:
        """The path of the running task."""
        from ..runner.branches import current

        return current.get()

    def _loop(self) -> Any:
        from asyncio import _get_running_loop  # type: ignore[attr-defined]

        loop: Any = _get_running_loop()
        if loop is not None and loop is self.broker.loop:
            return loop
        self.broker.check_usable()
        raise StepError(
            "this thread does not belong to a branch of the step",
            code="WFLO-3303",
            hint='give the thread `context.branch("a-name")`, whose calls need no await',
        )

    def ask(self, kind: str, name: str, request: Request) -> Waiter:
        """Sends an effect of the running task."""
        self._loop()
        return self.broker.ask(self.path(), kind, name, request)

    async def effect(self, kind: str, name: str, request: Request) -> Any:
        """The answer to an effect."""
        loop = self._loop()
        waiter = self.broker.ask(self.path(), kind, name, request)
        await loop.answer(waiter)
        return waiter.result()

    async def answer(self, waiter: Waiter, *, chunk: bool = False) -> None:
        """Waits for an answer or a part of it."""
        await self._loop().answer(waiter, chunk=chunk)


class SyncCalls(Calls):
    """Effects of a sync step: each blocks until its answer is here."""

    __slots__ = ("_path", "_thread")

    def __init__(self, broker: Broker, path: str) -> None:
        super().__init__(broker)
        self._path = path
        self._thread: int | None = get_ident()

    def path(self) -> str:
        """The one branch of these calls."""
        return self._path

    def check_thread(self) -> None:
        """Raises unless the calling thread is the branch's."""
        if self._thread != get_ident():
            self.broker.check_usable()
            raise StepError(
                "this thread does not belong to a branch of the step",
                code="WFLO-3303",
                hint='give each thread a context of its own: `context.branch("a-name")`',
            )

    def ask(self, kind: str, name: str, request: Request) -> Waiter:
        """Sends an effect."""
        self.check_thread()
        return self.broker.ask(self._path, kind, name, request)

    def effect(self, kind: str, name: str, request: Request) -> Any:
        """The answer to an effect."""
        waiter = self.ask(kind, name, request)
        self.broker.wait(waiter)
        return waiter.result()

    def answer(self, waiter: Waiter, *, chunk: bool = False) -> None:
        """Waits for an answer or a part of it."""
        self.broker.wait(waiter, chunk=chunk)


class BranchCalls(SyncCalls):
    """Effects of a thread: the first thread that uses the branch owns it."""

    __slots__ = ()

    def __init__(self, broker: Broker, path: str) -> None:
        super().__init__(broker, path)
        self._thread = None

    def check_thread(self) -> None:
        """Raises when another thread uses the branch, or the event loop's thread would block."""
        if self._thread is None:
            asyncio = sys.modules.get("asyncio")
            if asyncio is not None and asyncio._get_running_loop() is not None:  # type: ignore[attr-defined]
                raise StepError(
                    "context.branch(name) is for threads; here it would block the event loop",
                    code="WFLO-3303",
                    hint="use the step's context, with await; tasks get their branches by themselves",
                )
            self._thread = get_ident()
        super().check_thread()


def refused(message: str, hint: str) -> Exception:
    """What this release cannot do, raised where it is asked for."""
    error = {"code": "WFLO-3308", "kind": "not_available", "message": message, "hint": hint}
    return effect_error(error, ("", -1))

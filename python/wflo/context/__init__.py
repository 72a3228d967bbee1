"""What a step is called with.

Owns `Context` (of async steps, everything that waits is awaited) and `SyncContext` (of sync steps
and of threads, the same names without `await`). Each part stands in its own module.
"""

from __future__ import annotations

import os

from . import world
from .calls import AsyncCalls, Calls, SyncCalls
from .db import Database, SyncDatabase
from .llm import Llm, SyncLlm
from .tools import SyncTools, Tools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path
    from typing import Any, NoReturn

    from ..runner.broker import Broker
    from ..workflow import Workflow

__all__ = ["Context", "SyncContext"]


class Values(dict[str, "Any"]):
    """Inputs or outputs by name; a name that is not there gives an error listing those that are."""

    __slots__ = ("_what",)

    def __init__(self, what: str, values: dict[str, Any]) -> None:
        super().__init__(values)
        self._what = what

    def __missing__(self, name: object) -> NoReturn:
        from ..arguments import nearest

        close = nearest(name, self) if isinstance(name, str) else None
        known = ", ".join(sorted(self)) or "none"
        raise self._missing(
            name,
            f"no {self._what} named {name!r}" + (f"; did you mean {close!r}?" if close else f"; there are: {known}"),
        )

    def _missing(self, name: object, message: str) -> KeyError:
        return KeyError(message)


class Inputs(Values):
    """The run's inputs; one that is not there gives an error with the command that gives it."""

    __slots__ = ()

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__("input", values)

    def _missing(self, name: object, message: str) -> KeyError:
        from ..errors import InputMissing

        hint = "correct the name in the code" if "did you mean" in message else f"`wflo run --input {name}=…`"
        return InputMissing(message, code="WFLO-1020", hint=hint)


class Outputs(Values):
    """The outputs of the steps before this one; the name of another step gives an error with the fix."""

    __slots__ = ("_left_out", "_step", "_workflow")

    def __init__(self, step: str, values: dict[str, Any], left_out: Sequence[str], workflow: Workflow | None) -> None:
        super().__init__("output", values)
        self._step = step
        self._left_out = left_out
        self._workflow = workflow

    def __missing__(self, name: object) -> NoReturn:
        needs = {} if self._workflow is None else self._workflow.dependencies()
        if not isinstance(name, str) or name not in needs or self._step not in needs:
            super().__missing__(name)
        fix = ", ".join(repr(each) for each in [*needs[self._step], name])
        if name in self._left_out:
            raise KeyError(
                f"the output of {name!r} is too large to come with those of all steps before {self._step!r}; "
                f"name it: depends_on=[{fix}]"
            )
        if name == self._step or self._step in before(needs, name):
            raise KeyError(f"no output named {name!r}: it does not come before {self._step!r}")
        raise KeyError(
            f"no output named {name!r}: {self._step!r} does not come after it; to see it write depends_on=[{fix}]"
        )


def before(needs: Mapping[str, Sequence[str]], step: str) -> set[str]:
    """The steps that are over before `step` begins, given what each depends on."""
    found: set[str] = set()
    left = [step]
    while left:
        new = [name for name in needs.get(left.pop(), ()) if name not in found]
        found.update(new)
        left.extend(new)
    return found


class Facts:
    """What a context knows about its step, as the engine sent it."""

    __slots__ = ("attempt", "inputs", "outputs", "project", "resumes", "run", "state", "step")

    def __init__(self, frame: dict[str, Any], workflow: Workflow | None = None) -> None:
        self.run: str = str(frame.get("run") or "")
        self.step: str = str(frame.get("step") or "")
        # The protocol counts from the engine's side: a generation is a try, an attempt a start of one.
        self.attempt: int = int(frame.get("generation") or 1)
        self.resumes: int = int(frame.get("attempt") or 1) - 1
        self.project: str = str(frame.get("project") or os.getcwd())
        self.inputs = Inputs(frame.get("inputs") or {})
        self.outputs = Outputs(self.step, frame.get("outputs") or {}, frame.get("outputs_left_out") or (), workflow)
        self.state: dict[str, Any] = dict(frame.get("state") or {})


class _Base:
    """What both contexts share: everything that does not wait."""

    __slots__ = ("_broker", "_calls_base", "_facts", "log", "secrets")

    def __init__(self, broker: Broker, facts: Facts, calls: Calls) -> None:
        self._broker = broker
        self._facts = facts
        self._calls_base = calls
        self.log = world.Log(broker)
        self.secrets = world.Secrets()

    @property
    def inputs(self) -> dict[str, Any]:
        """The run's inputs by name."""
        return self._facts.inputs

    @property
    def outputs(self) -> dict[str, Any]:
        """The outputs of all steps that are over before this one begins, by step name."""
        return self._facts.outputs

    @property
    def state(self) -> dict[str, Any]:
        """Variables of the run, as the steps before this one left them; values must be JSON.

        What this step changes is kept when it succeeds. No two steps that may run beside each other
        can change the same key.
        """
        return self._facts.state

    @property
    def run(self) -> str:
        """The run's id."""
        return self._facts.run

    @property
    def step(self) -> str:
        """The step's name."""
        return self._facts.step

    @property
    def attempt(self) -> int:
        """Which try of the step this is, from 1: a retry is another one, a resume is not."""
        return self._facts.attempt

    @property
    def resumes(self) -> int:
        """How often this try has gone on after a crash or a wait. Not the same on replay: for logs only."""
        return self._facts.resumes

    @property
    def workspace(self) -> Path:
        """The project's folder: a private copy, shown by `wflo diff` and kept by `wflo apply`."""
        from pathlib import Path

        return Path(self._facts.project)

    def branch(self, name: str) -> SyncContext:
        """A context for one thread. `name` must be the same on every run of the step."""
        return SyncContext(self._broker, self._facts, self._calls_base.branch(name))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.run}/{self.step}>"


class Context(_Base):
    """The context of an async step."""

    __slots__ = ("_calls", "db", "http", "llm", "random", "tools")

    def __init__(self, broker: Broker, facts: Facts, calls: AsyncCalls) -> None:
        super().__init__(broker, facts, calls)
        self._calls = calls
        self.llm = Llm(calls)
        self.db = Database(calls)
        self.tools = Tools(calls)
        self.http = world.Http(calls)
        self.random = world.Random(calls)

    async def sleep(self, seconds: float | timedelta) -> None:
        """Sleeps durably: the sandbox ends meanwhile when nothing else of the step goes on."""
        await self._calls.effect("sleep", "sleep", world.sleep_request(seconds))

    async def now(self) -> datetime:
        """The time in UTC, recorded: the same on resume."""
        return world.instant(await self._calls.effect("now", "now", {}))

    async def emit(self, name: str, data: Any = None) -> None:
        """Publishes an event of the run. At least once."""
        await self._calls.effect("emit", "emit", world.event_request(name, data))

    async def approve(
        self,
        message: str,
        *,
        approvers: Sequence[str] = (),
        details: Mapping[str, Any] | None = None,
        timeout_seconds: float | timedelta | None = None,
        on_timeout: str | None = None,
        on_rejected: str = "stop",
    ) -> world.Decision:
        """Asks people, and waits as long as it takes. `details` is shown to them.

        Raises `ApprovalRejected` after a no, unless `on_rejected="continue"`.
        """
        wire = world.approval_request(message, approvers, details, timeout_seconds, on_timeout, on_rejected)
        waiter = self._calls.ask("approval", "approve", wire)
        await self._calls.answer(waiter)
        return world.Decision(waiter.result()).checked(on_rejected, waiter.key)


class SyncContext(_Base):
    """The context of a sync step, or of a thread: nothing is awaited."""

    __slots__ = ("_calls", "db", "http", "llm", "random", "tools")

    def __init__(self, broker: Broker, facts: Facts, calls: SyncCalls) -> None:
        super().__init__(broker, facts, calls)
        self._calls = calls
        self.llm = SyncLlm(calls)
        self.db = SyncDatabase(calls)
        self.tools = SyncTools(calls)
        self.http = world.SyncHttp(calls)
        self.random = world.SyncRandom(calls)

    def sleep(self, seconds: float | timedelta) -> None:
        """As `Context.sleep`."""
        self._calls.effect("sleep", "sleep", world.sleep_request(seconds))

    def now(self) -> datetime:
        """As `Context.now`."""
        return world.instant(self._calls.effect("now", "now", {}))

    def emit(self, name: str, data: Any = None) -> None:
        """As `Context.emit`."""
        self._calls.effect("emit", "emit", world.event_request(name, data))

    def approve(
        self,
        message: str,
        *,
        approvers: Sequence[str] = (),
        details: Mapping[str, Any] | None = None,
        timeout_seconds: float | timedelta | None = None,
        on_timeout: str | None = None,
        on_rejected: str = "stop",
    ) -> world.Decision:
        """As `Context.approve`."""
        wire = world.approval_request(message, approvers, details, timeout_seconds, on_timeout, on_rejected)
        waiter = self._calls.ask("approval", "approve", wire)
        self._calls.answer(waiter)
        return world.Decision(waiter.result()).checked(on_rejected, waiter.key)

"""Running one step: its function, its context, and what it ended with.

Owns the choice between sync and async, and the `succeeded` and `failed` frames. A sync step runs
without asyncio being imported.
"""

from __future__ import annotations

from .. import session, values
from ..context import Context, Facts, SyncContext
from ..context.calls import AsyncCalls, SyncCalls
from ..errors import DefinitionError, StepCancelled, StepError, ValueTooLarge
from ..step import is_async
from . import branches, finish
from .broker import Broker
from .frames import FrameTooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..workflow import Workflow


def run(broker: Broker, workflow: Workflow, frame: dict[str, Any]) -> bytes:
    """Runs the step that a `run_step` frame names, and returns the packed `succeeded` frame.

    Raises whatever the step raised, and `StepError` for an output that cannot be recorded.
    """
    name = str(frame.get("step"))
    step = workflow.step_named(name)
    if step is None:
        raise DefinitionError(
            f"the workflow `{workflow.name}` has no step `{name}` with a function",
            code="WFLO-1503",
            hint="the code has changed since the run was submitted",
        )
    facts = Facts(frame, workflow)
    session.mode = "step"
    if broker.cancelled is not None:
        raise StepCancelled(broker.cancelled)
    output = _call(broker, step.function, facts)
    finish.settle()
    broker.ended = True
    packed = _packed(broker, output, facts.state)
    if broker.loop is not None:
        from . import forgotten

        forgotten.check()
    return packed


def _call(broker: Broker, function: Callable[..., Any], facts: Facts) -> Any:
    if is_async(function):
        # Here and not above: importing asyncio costs more than everything else.
        from . import forgotten, loop

        forgotten.watch()
        return loop.run(broker, _main(function, Context(broker, facts, AsyncCalls(broker))))
    output = function(SyncContext(broker, facts, SyncCalls(broker, branches.ROOT)))
    if hasattr(output, "__await__"):
        close = getattr(output, "close", None)
        if close is not None:
            close()
        raise StepError(
            "the step is an ordinary function but returned something to await",
            code="WFLO-3305",
            hint="make the step (and what decorates it) an `async def`",
        )
    return output


async def _main(function: Callable[..., Any], context: Context) -> Any:
    return await function(context)


def _packed(broker: Broker, output: Any, state: dict[str, Any]) -> bytes:
    frame = {
        "type": "succeeded",
        "output": values.plain(output, "outputs"),
        "state": values.plain(state, "state"),
    }
    try:
        return broker.channel.pack(frame)
    except FrameTooLarge as error:
        raise ValueTooLarge(
            f"the step's output and state have {error.size:,} bytes; the most is 8 MiB",
            code="WFLO-3302",
            hint="write large results to a file in the workspace and return its path",
        ) from None

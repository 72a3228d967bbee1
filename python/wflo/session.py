"""What this process is doing: running a user's script, loading a workflow, or running a step.

Owns that one piece of process-wide state, so that `workflow.run()` reached while a workflow file
is being loaded ends the import instead of starting a run.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from .workflow import Workflow

    Mode: TypeAlias = 'Literal["script", "loading", "step"]'

mode: Mode = "script"
"""`loading` while the runner imports the user's file, `step` while it runs a step."""

isolated = True
"""Whether the engine keeps this process from the rest of the host; it says so in its `hello`."""

created: list[Workflow] = []
"""The workflows made while loading, in order."""

reached: Workflow | None = None
"""The workflow whose `run()` was reached while loading."""


class RunReached(BaseException):
    """Ends the import at `workflow.run()`. Not an `Exception`: user code must not swallow it."""


def note_created(workflow: Workflow) -> None:
    """Remembers a workflow made while its file is being loaded."""
    if mode == "loading":
        created.append(workflow)


def stop_here(workflow: Workflow) -> None:
    """Called when `run()` is reached: ends an import, refuses inside a step, else returns."""
    global reached
    if mode == "loading":
        reached = workflow
        raise RunReached
    if mode == "step":
        from .errors import StepError

        raise StepError(
            "a step cannot start a run of its own in this release",
            code="WFLO-8504",
            hint="make it a step of this workflow",
        )

"""The conformance workflow in Python: each step does what `docs/protocol.md` says of it."""

from __future__ import annotations

import asyncio

from wflo import Context, SyncContext, Workflow

workflow = Workflow("conformance")
workflow.configure_sandbox(memory_limit="64m", io={"read": "1m", "write_ops": 5})


@workflow.step
def echo(context: SyncContext):
    """Returns what it was given, and counts in the state."""
    context.state["n"] += 1
    return {"inputs": context.inputs, "outputs": context.outputs}


@workflow.step
def order(context: SyncContext):
    """Three random numbers, one after the other."""
    return [context.random() for _ in range(3)]


@workflow.step
async def branches(context: Context):
    """Three branches, each with two random numbers; returns the order in which the first ones came."""
    came: list[int] = []

    async def branch(n: int) -> None:
        await context.random()
        came.append(n)
        await context.random()

    await asyncio.gather(*[branch(n) for n in range(3)])
    return came


@workflow.step
async def waits(context: Context):
    """Two long sleeps at once."""
    await asyncio.gather(context.sleep(3600), context.sleep(7200))


@workflow.step
def fails(context: SyncContext):
    """Raises its own error, or that of its one effect."""
    if context.inputs.get("own"):
        raise ValueError("its own error")
    context.random()


@workflow.step
async def stream(context: Context):
    """Streams one answer; returns its parts and its text."""
    answer = context.llm.stream(model="m", messages=[])
    return [[delta.text async for delta in answer], answer.text]


@workflow.step
def tool(context: SyncContext):
    """Runs `echo hello` as a tool and returns what it printed."""
    return context.tools.run(["echo", "hello"]).stdout


@workflow.step
async def files(context: Context):
    """Runs a tool that writes a file; returns what the file holds."""
    await context.tools.run(["sh", "-c", "echo made > made.txt"])
    return (context.workspace / "made.txt").read_text()


@workflow.step
async def gives_up(context: Context):
    """Waits for one number for so long, then asks for another; whether the first one came."""
    try:
        await asyncio.wait_for(context.random(), context.inputs["seconds"])
        came = True
    except asyncio.TimeoutError:
        came = False
    await context.random()
    return came


@workflow.step
def prints(context: SyncContext):
    """Prints what looks like a frame."""
    print("\x00\x00\x00\x02{}", flush=True)
    context.log("a line of the log")

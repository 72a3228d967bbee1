"""Branches: the same effect has the same identity on every run, whatever the timing."""

from __future__ import annotations

import sys

import pytest

STEP = """
import asyncio

async def ask(context, n):
    return await context.llm.chat(model="m", messages=[{"role": "user", "content": str(n)}])
"""


def identities(project, count, **start):
    """Identity by what was asked."""
    engine = project.start(**start)
    found = {}
    for _ in range(count):
        frame = engine.effect()
        found[frame["request"]["messages"][0]["content"]] = (frame["path"], frame["seq"])
        engine.answer(frame, {"text": ""})
    assert len(set(found.values())) == count
    return engine, found


def test_effects_of_one_task_are_counted(project):
    project.steps(
        STEP
        + """
@workflow.step
async def step(context):
    for n in range(3):
        await ask(context, n)
"""
    )
    engine = project.start()
    for seq in range(3):
        frame = engine.effect()
        assert (frame["path"], frame["seq"]) == ("0", seq)
        engine.answer(frame, {})
    assert engine.end()["type"] == "succeeded"


def test_gather_gives_each_child_a_branch(project):
    project.steps(
        STEP
        + """
@workflow.step
async def step(context):
    await asyncio.gather(ask(context, "a"), ask(context, "b"), ask(context, "c"))
    task = asyncio.create_task(ask(context, "d"))
    await task
"""
    )
    engine, found = identities(project, 4)
    assert found == {"a": ("0.0", 0), "b": ("0.1", 0), "c": ("0.2", 0), "d": ("0.3", 0)}
    assert engine.end()["type"] == "succeeded"


def test_children_of_children(project):
    project.steps(
        STEP
        + """
async def pair(context, n):
    await asyncio.gather(ask(context, f"{n}a"), ask(context, f"{n}b"))
    await ask(context, f"{n}c")

@workflow.step
async def step(context):
    await asyncio.gather(pair(context, 0), pair(context, 1))
    await ask(context, "end")
"""
    )
    _engine, found = identities(project, 7)
    assert found == {
        "0a": ("0.0.0", 0),
        "0b": ("0.0.1", 0),
        "0c": ("0.0", 0),
        "1a": ("0.1.0", 0),
        "1b": ("0.1.1", 0),
        "1c": ("0.1", 0),
        "end": ("0", 0),
    }


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup came with 3.11")
def test_task_groups(project):
    project.steps(
        STEP
        + """
@workflow.step
async def step(context):
    async with asyncio.TaskGroup() as group:
        group.create_task(ask(context, "a"))
        group.create_task(ask(context, "b"))
"""
    )
    _engine, found = identities(project, 2)
    assert found == {"a": ("0.0", 0), "b": ("0.1", 0)}


def test_library_tasks_inherit_their_parents_branch(project):
    project.write(
        "site-packages/library.py",
        """
        import asyncio
        async def run_in_task(coroutine):
            return await asyncio.ensure_future(coroutine)
        """,
    )
    project.steps(
        "import sys; sys.path.append('site-packages')\nimport library\n"
        + STEP
        + """
@workflow.step
async def step(context):
    await library.run_in_task(ask(context, "a"))
    await asyncio.gather(library.run_in_task(ask(context, "b")))
    await ask(context, "c")
"""
    )
    _engine, found = identities(project, 3)
    assert found == {"a": ("0", 0), "b": ("0.0", 0), "c": ("0", 1)}


def test_the_wait_for_of_this_interpreter_is_the_same_each_time(project):
    project.steps(
        STEP
        + """
@workflow.step
async def step(context):
    await asyncio.wait_for(ask(context, "a"), 100)
    await asyncio.gather(ask(context, "b"))
"""
    )
    _engine, first = identities(project, 2)
    _engine, second = identities(project, 2)
    assert first == second
    assert first["a"] == (("0.0", 0) if sys.version_info < (3, 12) else ("0", 0))


def test_a_task_that_is_named_or_has_a_context_of_its_own(project):
    more = ", context=contextvars.copy_context()" if sys.version_info >= (3, 11) else ""
    project.steps(
        STEP
        + f"""
import contextvars
@workflow.step
async def step(context):
    await asyncio.create_task(ask(context, "a"), name="x")
    await asyncio.create_task(ask(context, "b"){more})
    await ask(context, "c")
"""
    )
    _engine, found = identities(project, 3)
    assert found == {"a": ("0.0", 0), "b": ("0.1", 0), "c": ("0", 0)}


def test_streams_belong_to_the_task_that_starts_them(project):
    project.steps(
        STEP
        + """
async def read(context, n):
    stream = context.llm.stream(model="m", messages=[{"role": "user", "content": n}])
    return [delta.text async for delta in stream], stream.text, str(stream.cost_usd)

@workflow.step
async def step(context):
    return await asyncio.gather(read(context, "a"), read(context, "b"))
"""
    )
    engine = project.start()
    effects = engine.effects(2)
    for (path, seq), frame in sorted(effects.items()):
        for index, part in enumerate(["x", path]):
            engine.send({"type": "effect_chunk", "path": path, "seq": seq, "index": index, "delta": {"text": part}})
        engine.answer(frame, {"text": "x" + path, "cost_usd": "0.5"})
    assert engine.end()["output"] == [[["x", "0.0"], "x0.0", "0.5"], [["x", "0.1"], "x0.1", "0.5"]]

"""An effect without `await` fails its step; what only looks like one does not."""

from __future__ import annotations

import pytest


def end(project, source, **more):
    """The `succeeded` or `failed` frame of `step`; each effect is answered with null."""
    project.steps("import asyncio, functools, contextlib\nkept = []\n" + source)
    engine = project.start(**more)
    while True:
        frame = engine.receive("effect", "suspended", "log", "succeeded", "failed")
        if frame["type"] == "effect":
            engine.answer(frame, None)
        elif frame["type"] in ("succeeded", "failed"):
            return frame


FORGOTTEN = {
    "a statement": ('context.db.execute("DELETE FROM t")', "context.db.execute"),
    "one that is kept in a variable": ('x = context.db.execute("DELETE FROM t")', "context.db.execute"),
    "one that outlives the step": ('kept.append(context.emit("done"))', "context.emit"),
    "one in a circle": ("x = [context.sleep(1)]; x.append(x)", "context.sleep"),
    "another database": ('context.db["b"].update("t", [])', "context.db.update"),
    "chance": ("context.random()", "context.random"),
    "an id": ("context.random.uuid4()", "context.random.uuid4"),
    "a model": ('context.llm.chat(model="m", messages=[])', "context.llm.chat"),
    "a tool": ('context.tools.run(["true"])', "context.tools.run"),
    "a question": ('context.approve("sure?")', "context.approve"),
}


@pytest.mark.parametrize("name", FORGOTTEN)
def test_a_forgotten_await_fails_the_step_and_names_the_line(project, name):
    line, call = FORGOTTEN[name]
    frame = end(project, f"@workflow.step\nasync def step(context):\n    {line}\n    return 1\n")
    assert frame["type"] == "failed", frame
    error = frame["error"]
    assert (error["code"], error["place"]) == ("WFLO-3313", "workflow.py:8"), error
    assert error["message"] == f"{call}(…) was called without `await`, so it never happened"
    assert f"`await {call}(…)`" in error["hint"]


def test_one_in_a_function_that_the_step_calls_is_named_there(project):
    source = """
def save(context):
    context.db.execute("DELETE FROM t")

@workflow.step
async def step(context):
    await context.now() if False else None
    save(context)
    save(context)
"""
    error = end(project, source)["error"]
    assert error["place"] == "workflow.py:8"
    assert "so were workflow.py:8" in error["message"]


FINE = {
    "awaited later": "x = context.emit('a'); y = context.emit('b'); await y; await x",
    "gathered": "await asyncio.gather(context.emit('a'), context.emit('b'))",
    "a task": "await asyncio.create_task(context.emit('a'))",
    "a task that nobody awaits": "kept.append(asyncio.create_task(context.emit('a')))",
    "a task that is cancelled before it starts": "asyncio.create_task(context.sleep(5)).cancel()",
    "closed": "context.emit('a').close()",
    "a time limit of nothing": "t = asyncio.wait_for(context.sleep(5), 0)\n"
    "    with contextlib.suppress(asyncio.TimeoutError):\n        await t",
    "a partial": "await functools.partial(context.emit, 'a')()",
    "thrown into": "x = context.emit('a')\n"
    "    with contextlib.suppress(ValueError):\n        x.throw(ValueError('no'))",
    "a stream that nobody reads": "context.llm.stream(model='m', messages=[])",
    "the user's own coroutine": "other()",
    "a generator": "x = (context.emit(n) for n in 'ab'); await next(x)",
    "a log": "context.log('a')",
}


@pytest.mark.parametrize("name", FINE)
def test_what_only_looks_forgotten_is_fine(project, name):
    source = f"async def other():\n    pass\n@workflow.step\nasync def step(context):\n    {FINE[name]}\n    return 1\n"
    frame = end(project, source)
    assert frame["type"] == "succeeded", frame


def test_the_steps_own_error_stays(project):
    error = end(
        project, "@workflow.step\nasync def step(context):\n    context.emit('a')\n    raise ValueError('own')\n"
    )
    assert error["error"]["message"] == "own"


def test_a_returned_coroutine_is_named_in_the_output(project):
    error = end(project, "@workflow.step\nasync def step(context):\n    return {'rows': context.db.query('x')}\n")
    assert error["error"]["code"] == "WFLO-3301"
    assert error["error"]["hint"] == "an `await` is missing"


def test_using_the_answer_without_await_gets_the_hint(project):
    error = end(project, "@workflow.step\nasync def step(context):\n    context.db.query('x').scalar()\n")["error"]
    assert error["type"] == "AttributeError"
    assert "an `await` is missing" in error["hint"]


def test_awaiting_in_vain_gets_the_hint(project):
    error = end(project, "@workflow.step\nasync def step(context):\n    await context.log('x')\n")["error"]
    assert error["type"] == "TypeError"
    assert "leave `await` out" in error["hint"]

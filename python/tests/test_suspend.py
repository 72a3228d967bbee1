"""Suspension: said when only the engine can wake the step, and never otherwise."""

from __future__ import annotations

import socket

import pytest


def on(frame):
    return [(item["path"], item["seq"]) for item in frame["on"]]


def until(engine, waits):
    """Passes over repetitions of what was said before the last answer."""
    while on(engine.receive("suspended")) != waits:
        pass


def test_a_sync_step_that_waits_is_suspended_and_can_go_on(project):
    project.steps(
        """
@workflow.step
def step(context):
    context.sleep(3600)
    return context.approve("go?").by
"""
    )
    engine = project.start()
    sleep = engine.receive("effect")
    assert sleep["request"] == {"seconds": "3600"}
    assert on(engine.receive("suspended")) == [("0", 0)]
    engine.answer(sleep)
    approval = engine.effect()
    until(engine, [("0", 1)])
    engine.answer(approval, {"approved": True, "by": "ada", "comment": None})
    assert engine.end()["output"] == "ada"


def test_all_waits_are_named(project):
    project.steps(
        """
import asyncio
@workflow.step
async def step(context):
    await asyncio.gather(context.sleep(1), context.approve("go?"), context.sleep(2.5))
"""
    )
    engine = project.start()
    effects = engine.effects(3)
    assert {frame["request"].get("seconds") for frame in effects.values()} == {"1", "2.5", None}
    assert on(engine.receive("suspended")) == [("0.0", 0), ("0.1", 0), ("0.2", 0)]
    engine.answer(effects[("0.0", 0)])
    until(engine, [("0.1", 0), ("0.2", 0)])
    engine.answer(effects[("0.1", 0)], {"approved": True})
    engine.answer(effects[("0.2", 0)])
    assert engine.end()["type"] == "succeeded"


@pytest.mark.parametrize("prefix", ["def", "async def"])
def test_said_again_while_nothing_happens(project, prefix):
    wait = "await " if prefix == "async def" else ""
    project.steps(f"@workflow.step\n{prefix} step(context):\n    {wait}context.sleep(9)\n")
    engine = project.start()
    frame = engine.receive("effect")
    for _ in range(4):
        assert on(engine.receive("suspended")) == [("0", 0)]
    engine.answer(frame)
    assert engine.end()["type"] == "succeeded"


def test_a_timer_keeps_the_step_awake(project):
    project.steps(
        """
import asyncio
@workflow.step
async def step(context):
    timer = asyncio.get_running_loop().call_later(3600, print)
    task = asyncio.create_task(context.sleep(9))
    await context.sleep(1)
    timer.cancel()
    await task
"""
    )
    engine = project.start()
    # No `suspended` as long as there is a timer.
    effects = {frame["request"]["seconds"]: frame for frame in engine.effects(2).values()}
    assert engine.quiet(0.2)
    engine.answer(effects["1"])
    until(engine, [("0.0", 0)])


def test_a_descriptor_keeps_the_step_awake(project):
    project.steps(
        """
import asyncio, os
@workflow.step
async def step(context):
    reader, writer = os.pipe()
    asyncio.get_running_loop().add_reader(reader, lambda: None)
    task = asyncio.create_task(context.sleep(9))
    await context.sleep(1)
    asyncio.get_running_loop().remove_reader(reader)
    await task
"""
    )
    engine = project.start()
    effects = {frame["request"]["seconds"]: frame for frame in engine.effects(2).values()}
    assert engine.quiet(0.2)
    engine.answer(effects["1"])
    until(engine, [("0.0", 0)])


def test_idle_connections_to_the_model_gateway_do_not(project):
    project.steps(
        """
import asyncio
@workflow.step
async def step(context):
    reader, writer = await asyncio.open_connection("127.0.0.1", context.inputs["port"])
    await context.sleep(9)
    writer.close()
"""
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for env, awake in (({}, True), ({"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}, False)):
            engine = project.engine(**env)
            engine.start(project.path, "workflow.py", "step", inputs={"port": port})
            engine.receive("effect")
            if awake:
                assert engine.quiet(0.3)
            else:
                assert on(engine.receive("suspended")) == [("0", 0)]


def test_a_busy_thread_keeps_the_step_awake(project):
    for step in (
        "async def step(context):\n    thread()\n    await context.sleep(9)\n",
        "def step(context):\n    thread()\n    context.sleep(9)\n",
    ):
        project.steps(
            """
import threading, pathlib, time
def thread():
    def work():
        while not pathlib.Path("stop").exists():
            time.sleep(0.005)
    threading.Thread(target=work).start()
@workflow.step
"""
            + step
        )
        (project.folder / "stop").unlink(missing_ok=True)
        engine = project.start()
        engine.receive("effect")
        assert engine.quiet(0.3)
        (project.folder / "stop").touch()
        assert on(engine.receive("suspended")) == [("0", 0)]


def test_idle_executor_threads_do_not(project):
    project.steps(
        """
import asyncio
@workflow.step
async def step(context):
    await asyncio.gather(*[asyncio.to_thread(sum, [1, 2]) for _ in range(4)])
    await context.sleep(9)
"""
    )
    engine = project.start()
    engine.receive("effect")
    assert on(engine.receive("suspended")) == [("0", 0)]


def test_threads_that_all_wait_for_effects_are_suspended(project):
    project.steps(
        """
import threading
@workflow.step
def step(context):
    threads = [threading.Thread(target=context.branch(f"t{n}").sleep, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
    )
    engine = project.start()
    frames = []
    while True:
        frame = engine.receive("effect", "suspended")
        if frame["type"] == "effect":
            frames.append(frame)
        elif len(frame["on"]) == 3:
            break
    assert sorted(on(frame)) == [("0.t0", 0), ("0.t1", 0), ("0.t2", 0)]
    for waiting in frames:
        engine.answer(waiting)
    assert engine.end()["type"] == "succeeded"


def test_hanging_up_on_a_suspended_step_runs_none_of_its_code(project):
    for step in (
        "async def step(context):\n    try:\n        await context.sleep(9)\n",
        "def step(context):\n    try:\n        context.sleep(9)\n",
    ):
        project.steps(
            "import atexit, pathlib\n"
            "atexit.register(pathlib.Path('unwound').touch)\n"
            "@workflow.step\n" + step + "    finally:\n        pathlib.Path('unwound').touch()\n"
        )
        engine = project.start()
        engine.receive("effect")
        engine.receive("suspended")
        engine.close()
        code, stderr = engine.ended()
        assert code == 70
        assert "the engine closed the connection" in stderr
        assert not (project.folder / "unwound").exists()


def test_a_stream_being_read_by_nobody_is_still_named(project):
    project.steps(
        """
@workflow.step
async def step(context):
    stream = context.llm.stream(model="m", messages=[])
    await context.sleep(9)
"""
    )
    engine = project.start()
    engine.effects(2)
    assert on(engine.receive("suspended")) == [("0", 0), ("0", 1)]

"""A stock client's call during replay: what the engine says of it decides whether its timer is skipped."""

import socket
from contextlib import contextmanager

import pytest

STEP = """
import asyncio

@workflow.step
async def step(context):
    FIRST
    reader, writer = await asyncio.open_connection("127.0.0.1", context.inputs["port"])
    writer.write(b"question\\n")
    try:
        said = (await asyncio.wait_for(reader.readline(), 3600)).decode().strip()
    except asyncio.TimeoutError:
        said = "gave up"
    return [said, await context.random()]
"""
# One answer was recorded, to the effect behind the call.
REPLAYING = {"attempt": 2, "replay_length": 1, "asked": [["0", 0, 0]], "cancelled": []}


@contextmanager
def asking(project, features=("effect_cancelled", "calls"), first="pass", **more):
    """A step whose client has asked the gateway; the gateway's end of the connection."""
    project.steps(STEP.replace("FIRST", first))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        port = server.getsockname()[1]
        engine = project.engine(features, OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1")
        engine.start(project.path, "workflow.py", "step", inputs={"port": port}, **more)
        client, _ = server.accept()
        with client:
            client.settimeout(60)
            assert client.recv(100) == b"question\n"
            yield engine, client


def say(engine, state):
    question = engine.receive("calls")
    assert question["open"] == 1
    engine.send({"type": "calls", "n": question["n"], "state": state})


def test_a_timer_is_not_skipped_under_an_answer_that_is_on_its_way(project):
    with asking(project, **REPLAYING) as (engine, client):
        for _ in range(20):
            say(engine, "answering")
        client.sendall(b"an answer\n")
        frame = engine.effect("calls")
        engine.answer(frame, 0.5, order=1)
        assert engine.end()["output"] == ["an answer", 0.5]


def test_a_call_that_was_given_up_is_out_of_time_at_once(project):
    with asking(project, **REPLAYING) as (engine, _):
        say(engine, "answering")
        say(engine, "quiet")
        effect = engine.receive("effect")
        engine.answer(effect, 0.5, order=1)
        assert engine.end()["output"] == ["gave up", 0.5]


@pytest.mark.parametrize("state", ["running", "quiet"])
def test_an_old_word_of_the_engine_decides_nothing(project, state):
    with asking(project, **REPLAYING) as (engine, client):
        question = engine.receive("calls")
        engine.send({"type": "calls", "n": question["n"] - 1, "state": state})
        for _ in range(3):
            say(engine, "answering")
        client.sendall(b"an answer\n")
        frame = engine.effect("calls")
        engine.answer(frame, 0.5, order=1)
        assert engine.end()["output"] == ["an answer", 0.5]


def test_a_call_that_runs_anew_has_its_full_time(project):
    # What is left to be replayed was asked for already, so nothing is due; its answer is late.
    more = {**REPLAYING, "asked": [["0.0", 0, 0]], "first": "sleeping = asyncio.create_task(context.sleep(1))"}
    with asking(project, **more) as (engine, client):
        sleep = engine.receive("effect")
        engine.send({"type": "effect_pending", "path": sleep["path"], "seq": sleep["seq"]})
        for _ in range(5):
            say(engine, "running")
        client.sendall(b"an answer\n")
        frame = engine.effect("calls")
        engine.answer(frame, 0.5)
        engine.answer(sleep, order=1)
        # Until the answer to the sleep has come, the runner may ask about the open connection.
        assert engine.end("calls")["output"] == ["an answer", 0.5]


def test_nothing_is_asked_of_an_engine_that_does_not_know_it_and_when_nothing_is_replayed(project):
    for features, more in (((), {}), (("calls",), {}), ((), REPLAYING)):
        with asking(project, features, **more) as (engine, client):
            if not more:
                client.sendall(b"an answer\n")
            effect = engine.receive("effect")
            engine.answer(effect, 0.5)
            assert engine.end()["output"][1] == 0.5


def test_looking_at_a_pipe_of_the_step_leaves_it_as_it_was(project):
    # The loop looks at the step's descriptors while it waits. A duplicate that stayed open would
    # keep the child's input from ending.
    project.steps("""
        import asyncio, sys

        @workflow.step
        async def step(context):
            pipe = asyncio.subprocess.PIPE
            code = "import sys; print(sys.stdin.read())"
            child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=pipe, stdout=pipe)
            child.stdin.write(b"told")
            await context.random()
            child.stdin.close()
            return [(await child.stdout.read()).decode().strip(), await child.wait()]
    """)
    engine = project.engine(OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    engine.start(project.path, "workflow.py", "step")
    frame = engine.effect("random")
    engine.answer(frame, 0.5)
    assert engine.end()["output"] == ["told", 0]

"""Replay: a resumed step goes the way it went, races and time-outs included."""

from __future__ import annotations

import pytest

from fake_engine import Journal

HEAD = """
import asyncio

async def ask(context, n):
    return (await context.llm.chat(model="m", messages=[{"role": "user", "content": str(n)}])).text
"""


def content(frame):
    return frame["request"]["messages"][0]["content"]


RACE = (
    HEAD
    + """
@workflow.step
async def step(context):
    order = []
    async def one(n):
        text = await ask(context, n)
        order.append(n)
        await ask(context, f"after-{n}-{len(order)}")
    await asyncio.gather(*[one(n) for n in range(4)])
    return order
"""
)


@pytest.mark.parametrize("finish", [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]])
@pytest.mark.parametrize("answers_backwards", [False, True])
def test_a_race_goes_the_same_way_on_resume(project, finish, answers_backwards):
    project.steps(RACE)
    journal = Journal()
    engine = project.start()
    first = {content(frame): frame for frame in engine.effects(4).values()}
    for n in finish:
        journal.record(engine, first[str(n)], {"text": ""})
        after = engine.effect()
        first[content(after)] = after
    assert [name for name in first if name.startswith("after")] == [
        f"after-{n}-{place}" for place, n in enumerate(finish, start=1)
    ]
    engine.close()  # The crash: four effects are under way, four are recorded.

    engine = project.start(replay_length=len(journal.entries))
    asked = list(engine.effects(4).values())
    for frame in reversed(asked) if answers_backwards else asked:
        assert journal.replay(engine, frame)
    for frame in engine.effects(4).values():
        assert not journal.replay(engine, frame)
        assert content(frame) in first
        assert (frame["path"], frame["seq"]) == (first[content(frame)]["path"], first[content(frame)]["seq"])
        engine.answer(frame, {"text": ""})
    assert engine.end()["output"] == finish


def test_the_first_of_several_stays_the_first(project):
    project.steps(
        HEAD
        + """
@workflow.step
async def step(context):
    tasks = [asyncio.create_task(ask(context, n)) for n in range(3)]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1, done
    for task in rest:
        task.cancel()
    winner = tasks.index(done.pop())
    await ask(context, f"winner-{winner}")
    return winner
"""
    )
    journal = Journal()
    engine = project.start()
    effects = engine.effects(3)
    # Two answers arrive in one read: still one comes first.
    journal.record(engine, effects[("0.1", 0)], {"text": ""})
    journal.record(engine, effects[("0.0", 0)], {"text": ""})
    last = engine.effect()
    assert content(last) == "winner-1"
    engine.close()
    for reverse in (False, True):
        engine = project.start(replay_length=2)
        effects = engine.effects(3)
        for key in sorted(effects, reverse=reverse):
            journal.replay(engine, effects[key])
        last = engine.effect()
        assert content(last) == "winner-1"
        engine.answer(last, {})
        assert engine.end()["output"] == 1


def test_recorded_failures_are_replayed(project):
    project.steps(
        HEAD
        + """
@workflow.step
async def step(context):
    try:
        await ask(context, "a")
    except BudgetExceeded as error:
        return [error.code, error.hint, error.kind, list(error.effect), await ask(context, "b")]
"""
    )
    journal = Journal()
    engine = project.start()
    error = {"code": "WFLO-4001", "kind": "budget_exceeded", "message": "no", "hint": "top up"}
    journal.record(engine, engine.effect(), error=error)
    engine.effect()
    engine.close()
    engine = project.start(replay_length=1)
    assert journal.replay(engine, engine.effect())
    engine.answer(engine.effect(), {"text": "done"})
    assert engine.end()["output"] == ["WFLO-4001", "top up", "budget_exceeded", ["0", 0], "done"]


TIMEOUT = (
    HEAD
    + """
@workflow.step
async def step(context):
    try:
        return await asyncio.wait_for(ask(context, "slow"), SECONDS)
    except asyncio.TimeoutError:
        return await ask(context, "fallback")
"""
)


def test_a_time_out_that_fired_fires_again_without_waiting(project):
    project.steps(TIMEOUT.replace("SECONDS", "0.05"))
    features = ("effect_cancelled",)
    engine = project.start(features=features)
    slow = engine.effect()
    cancelled = engine.receive("effect_cancelled")
    assert (cancelled["path"], cancelled["seq"]) == (slow["path"], slow["seq"])
    fallback = engine.effect()
    engine.close()

    # Replayed with a long time-out: it fires by the record, not by the clock.
    project.steps(TIMEOUT.replace("SECONDS", "3600"))
    engine = project.start(features=features, replay_length=2)
    engine.answer(engine.effect(), cancelled=True, order=1)
    assert engine.receive("effect_cancelled")["path"] == slow["path"]
    again = engine.effect()
    assert (again["path"], again["seq"], content(again)) == (fallback["path"], fallback["seq"], "fallback")
    engine.answer(again, {"text": "x"}, order=2)
    assert engine.end()["output"] == "x"


def test_a_time_out_that_did_not_fire_does_not_fire_in_replay(project):
    project.steps(TIMEOUT.replace("SECONDS", "0.001"))
    engine = project.start(replay_length=1)
    engine.answer(engine.effect(), {"text": "in time"}, order=1)
    # Whether the answer or the real timer is first here depends on the machine: what counts is
    # that a recorded answer which has arrived is given out before any timer is skipped to.
    project.steps(TIMEOUT.replace("SECONDS", "3600"))
    engine = project.start(replay_length=1)
    engine.answer(engine.effect(), {"text": "in time"}, order=1)
    assert engine.end()["output"] == "in time"


def test_timers_between_recorded_answers_are_skipped_to(project):
    project.steps(
        HEAD
        + """
@workflow.step
async def step(context):
    first = await ask(context, "a")
    await asyncio.sleep(3600)
    return [first, await ask(context, "b")]
"""
    )
    engine = project.start(replay_length=2)
    engine.answer(engine.effect(), {"text": "1"}, order=1)
    engine.answer(engine.effect(), {"text": "2"}, order=2)
    assert engine.end()["output"] == ["1", "2"]


def test_an_order_that_is_never_asked_for_does_not_block(project):
    project.steps(
        HEAD
        + """
@workflow.step
async def step(context):
    return await asyncio.gather(ask(context, "a"), ask(context, "b"))
"""
    )
    engine = project.start(replay_length=7)
    for order, frame in zip((6, 5), engine.effects(2).values(), strict=True):
        engine.answer(frame, {"text": str(order)}, order=order)
    assert engine.end()["output"] == ["6", "5"]


def test_an_answer_that_is_not_in_the_journal_does_not_block_later_ones(project):
    project.steps(
        HEAD
        + """
@workflow.step
async def step(context):
    return await asyncio.gather(ask(context, "new"), ask(context, "old"))
"""
    )
    engine = project.start(replay_length=3)
    effects = {content(frame): frame for frame in engine.effects(2).values()}
    engine.send({"type": "effect_pending", "path": effects["new"]["path"], "seq": 0})
    engine.answer(effects["old"], {"text": "old"}, order=3)
    engine.answer(effects["new"], {"text": "new"})
    assert engine.end()["output"] == ["new", "old"]


def test_a_loop_that_is_never_idle_still_gets_its_answers(project):
    project.steps(
        HEAD
        + """
@workflow.step
async def step(context):
    task = asyncio.create_task(ask(context, "a"))
    while not task.done():
        await asyncio.sleep(0)
    return task.result()
"""
    )
    for more in ({}, {"order": 1}):
        engine = project.start(replay_length=len(more))
        engine.answer(engine.effect(), {"text": "got it"}, **more)
        assert engine.end()["output"] == "got it"


def test_a_sync_step_replays_and_goes_on(project):
    project.steps(
        """
@workflow.step
def step(context):
    rows = []
    for n in range(4):
        rows.append(context.random())
    return rows
"""
    )
    engine = project.start(replay_length=2)
    for n in range(4):
        engine.answer(engine.effect(), n / 10, **({"order": n + 1} if n < 2 else {}))
    assert engine.end()["output"] == [0.0, 0.1, 0.2, 0.3]


def test_a_replayed_stream_without_its_parts_gives_its_text_at_once(project):
    project.steps(
        """
@workflow.step
async def step(context):
    stream = context.llm.stream(model="m", messages=[])
    return [[delta.text async for delta in stream], stream.text]
"""
    )
    engine = project.start(replay_length=1)
    engine.answer(engine.effect(), {"text": "whole"}, order=1)
    assert engine.end()["output"] == [["whole"], "whole"]


def test_an_interrupted_stream_raises_after_its_prefix(project):
    project.steps(
        """
@workflow.step
async def step(context):
    seen = []
    try:
        async for delta in context.llm.stream(model="m", messages=[]):
            seen.append(delta.text)
    except Interrupted as error:
        return [seen, error.kind]
"""
    )
    engine = project.start(replay_length=1)
    frame = engine.effect()
    chunk = {"type": "effect_chunk", "path": "0", "seq": 0, "index": 0, "delta": {"text": "half"}}
    engine.send(chunk)
    error = {"code": "WFLO-4001", "kind": "interrupted", "message": "cut", "hint": None}
    engine.answer(frame, error=error, order=1)
    assert engine.end()["output"] == [["half"], "interrupted"]


def test_a_heartbeat_does_not_keep_replay_from_ending(project):
    project.steps(
        HEAD
        + """
async def heartbeat():
    while True:
        await asyncio.sleep(60)

@workflow.step
async def step(context):
    beating = asyncio.ensure_future(heartbeat())
    return await ask(context, "a")
"""
    )
    engine = project.start(replay_length=5)
    engine.answer(engine.effect(), {"text": "late"}, order=4)
    assert engine.end()["output"] == "late"


def test_timers_are_real_while_an_effect_runs_anew(project):
    project.steps(
        HEAD
        + """
@workflow.step
async def step(context):
    order = []
    async def new():
        order.append(await asyncio.wait_for(ask(context, "new"), 3600))
    async def old():
        await asyncio.sleep(0.3)
        order.append(await ask(context, "old"))
    await asyncio.gather(new(), old())
    return order
"""
    )
    engine = project.start(replay_length=1)
    new = engine.effect()
    engine.send({"type": "effect_pending", "path": new["path"], "seq": new["seq"]})
    engine.answer(new, {"text": "new"})
    old = engine.effect()
    assert content(old) == "old"
    engine.answer(old, {"text": "old"}, order=1)
    assert engine.end()["output"] == ["old", "new"]

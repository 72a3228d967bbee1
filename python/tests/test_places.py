"""Time-outs and races around an effect whose answer is recorded later.

Each scenario is played to its end against a fake engine that journals; then the engine is "killed"
after each thing that it made durable, and a resumed step must go the way that the journal says. The
time-outs of the resumed step are an hour long: they fire by the record, not by the clock.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from fake_engine import Journal, Violation

HEAD = """
import asyncio
import threading

async def ask(context, what):
    return (await context.llm.chat(model="m", messages=[{"role": "user", "content": what}])).text
"""

WAIT_FOR = """
@workflow.step
async def step(context):
    try:
        said = await asyncio.wait_for(ask(context, "slow"), SECONDS)
    except asyncio.TimeoutError:
        said = "gave up"
    return [said, await ask(context, f"after: {said}")]
"""
TIMEOUT = """
@workflow.step
async def step(context):
    said = "gave up"
    try:
        async with asyncio.timeout(SECONDS):
            said = await ask(context, "slow")
    except TimeoutError:
        pass
    return [said, await ask(context, f"after: {said}")]
"""
NOT_CANCELLED = """
@workflow.step
async def step(context):
    task = asyncio.create_task(ask(context, "slow"))
    done, _ = await asyncio.wait([task], timeout=SECONDS)
    said = task.result() if done else "gave up"
    more = await ask(context, f"after: {said}")
    await task
    return [said, more]
"""
SHIELDED = """
@workflow.step
async def step(context):
    task = asyncio.create_task(ask(context, "slow"))
    try:
        said = await asyncio.wait_for(asyncio.shield(task), SECONDS)
    except asyncio.TimeoutError:
        said = "gave up"
    more = await ask(context, f"after: {said}")
    await task
    return [said, more]
"""
CANCELLED_TASK = """
@workflow.step
async def step(context):
    task = asyncio.create_task(ask(context, "slow"))
    await asyncio.sleep(SECONDS)
    task.cancel()
    said = "gave up"
    return [said, await ask(context, f"after: {said}")]
"""
THREAD = """
@workflow.step
def step(context):
    branch, said = context.branch("a"), []
    def run():
        said.append(branch.llm.chat(model="m", messages=[{"role": "user", "content": "slow"}]).text)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(REAL_SECONDS)
    first = said[0] if said else "gave up"
    messages = [{"role": "user", "content": f"after: {first}"}]
    more = context.llm.chat(model="m", messages=messages).text
    thread.join()
    return [first, more]
"""
SCENARIOS = {
    "wait_for": WAIT_FOR,
    "asyncio.timeout": TIMEOUT,
    "asyncio.wait with a timeout": NOT_CANCELLED,
    "a shielded task": SHIELDED,
    "a task that is cancelled": CANCELLED_TASK,
    "a thread": THREAD,
}


def pythons() -> list[str]:
    """Every Python here that the SDK runs on: `wait_for` makes a task on some and none on others."""
    found = {sys.version_info[:2]: sys.executable}
    for minor in range(10, 15):
        path = shutil.which(f"python3.{minor}")
        works = path and subprocess.run([path, "-c", "pass"], capture_output=True).returncode == 0
        if works and path:
            found.setdefault((3, minor), path)
    return [found[version] for version in sorted(found)]


@pytest.fixture(params=pythons(), ids=lambda path: path.rsplit("/", 1)[-1])
def python(request, project):
    project.python = request.param
    return request.param


def version(path: str) -> tuple[int, ...]:
    said = subprocess.run([path, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True)
    return tuple(map(int, said.stdout.split()))


def content(frame):
    return frame["request"]["messages"][0]["content"]


FEATURES = ("effect_cancelled",)


def write(project, source, seconds, real=60):
    """A thread waits by the clock, which is not skipped: `real` seconds, of which an answer in time needs few."""
    project.steps(HEAD + source.replace("REAL_SECONDS", str(real)).replace("SECONDS", str(seconds)))


def gave_up(engine):
    """The next effect, and the cancelled waits that were said before it."""
    cancelled = []
    while True:
        frame = engine.receive("effect", "effect_cancelled", "suspended", "log")
        if frame["type"] == "effect":
            return frame, cancelled
        if frame["type"] == "effect_cancelled":
            cancelled.append(frame)


def live(project, source, facts):
    """Plays a scenario with a short time-out; journals its first `facts` facts, and is killed there."""
    write(project, source, 0.05, real=0.5)
    engine, journal = project.start(features=FEATURES), Journal()
    slow = engine.effect()
    after, cancelled = gave_up(engine)
    assert content(after) == "after: gave up", after
    assert after["after"] == 0
    # A task that is cancelled hears of it later than the code behind it goes on.
    later = [engine.receive("effect_cancelled")] if "task.cancel()" in source else []
    assert [frame["after"] for frame in cancelled + later] == [0] * len(cancelled + later)
    steps = [lambda: journal.ask(slow)]
    steps += [lambda frame=frame: journal.cancel(frame) for frame in cancelled]
    steps += [lambda: journal.ask(after)]
    steps += [lambda frame=frame: journal.cancel(frame) for frame in later]
    steps += [
        lambda: journal.record(engine, slow, {"text": "too late"}),
        lambda: journal.record(engine, after, {"text": "done"}),
    ]
    for fact in steps[:facts]:
        fact()
    engine.close()
    return journal, facts < len(steps)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_step_that_went_on_without_an_answer_goes_on_without_it_again(project, python, name):
    if name == "asyncio.timeout" and version(python) < (3, 11):
        pytest.skip("asyncio.timeout came with 3.11")
    # Where nothing but the clock ends the wait, the first fact alone decides nothing.
    facts, more = 2 if name == "a task that is cancelled" else 1, True
    while more:
        journal, more = live(project, SCENARIOS[name], facts)
        decided = bool(journal.cancelled) or any(content(e) != "slow" for e in journal.asked.values())
        write(project, SCENARIOS[name], 3600, real=0.5 if decided else 60)
        engine = project.start(features=FEATURES, **journal.resume())
        while True:
            frame = engine.receive("effect", "effect_cancelled", "suspended", "log", "succeeded", "failed")
            if frame["type"] in ("succeeded", "failed"):
                break
            if frame["type"] == "effect" and not journal.replay(engine, frame):
                # New, or under way when the engine died: answered at once, and still not in time.
                engine.answer(frame, {"text": "anew" if content(frame) == "slow" else "done"})
        assert frame["type"] == "succeeded", (facts, frame)
        said = "gave up" if decided else "anew"
        assert frame["output"] == [said, "done"], (name, facts, journal.resume())
        facts += 1
    assert facts > 4, "every fact was the last one once"


@pytest.mark.parametrize("name", [n for n in SCENARIOS if n not in ("asyncio.timeout", "a task that is cancelled")])
def test_an_answer_that_came_before_anything_was_done_without_it_is_given_in_time(project, python, name):
    write(project, SCENARIOS[name], 3600)
    journal, engine = Journal(), project.start(features=FEATURES)
    journal.record(engine, engine.effect(), {"text": "in time"})
    engine.close()
    engine = project.start(features=FEATURES, **journal.resume())
    assert journal.replay(engine, engine.effect())
    after = engine.effect()
    assert content(after) == "after: in time"
    assert after["after"] == 1
    engine.answer(after, {"text": "done"})
    assert engine.end()["output"] == ["in time", "done"]


RACE = """
@workflow.step
async def step(context):
    tasks = [asyncio.create_task(ask(context, f"racer {n}")) for n in range(3)]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    winner = tasks.index(done.pop())
    for task in rest:
        task.cancel()
    await ask(context, f"winner {winner}")
    return winner
"""


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("answered", [0, 1, 2])
def test_a_lost_race_stays_lost_however_much_of_it_was_recorded(project, python, answered, backwards):
    write(project, RACE, 0)
    journal, engine = Journal(), project.start(features=FEATURES)
    racers = {content(frame): journal.ask(frame) for frame in engine.effects(3).values()}
    journal.record(engine, racers["racer 1"], {"text": ""})
    winner, cancelled = gave_up(engine)
    journal.ask(winner)
    assert winner["after"] == 1
    while len(cancelled) < 2:
        cancelled.append(engine.receive("effect_cancelled"))
    for frame in cancelled:
        assert frame["after"] == 1
        journal.cancel(frame)
    for loser in ("racer 2", "racer 0")[:answered]:
        journal.record(engine, racers[loser], {"text": ""})
    engine.close()
    engine = project.start(features=FEATURES, **journal.resume())
    asked = engine.effects(3)
    for key in sorted(asked, reverse=backwards):
        assert journal.replay(engine, asked[key])
    again = engine.effect()
    assert content(again) == "winner 1"
    engine.answer(again, {"text": ""})
    assert engine.end()["output"] == 1


GROUP = """
@workflow.step
async def step(context):
    async def fails():
        await ask(context, "fails")
        raise ValueError("one of them")
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(context, "slow"))
            group.create_task(fails())
    except* ValueError:
        pass
    return await ask(context, "after")
"""


def test_a_task_group_that_failed_fails_at_the_same_place(project, python):
    if version(python) < (3, 11):
        pytest.skip("asyncio.TaskGroup came with 3.11")
    write(project, GROUP, 0)
    journal, engine = Journal(), project.start(features=FEATURES)
    first = {content(frame): journal.ask(frame) for frame in engine.effects(2).values()}
    journal.record(engine, first["fails"], {"text": ""})
    after, cancelled = gave_up(engine)
    assert [(frame["path"], frame["after"]) for frame in cancelled] == [(first["slow"]["path"], 1)]
    journal.cancel(cancelled[0])
    journal.ask(after)
    journal.record(engine, first["slow"], {"text": "too late"})
    engine.close()
    engine = project.start(features=FEATURES, **journal.resume())
    for frame in engine.effects(2).values():
        journal.replay(engine, frame)
    again = engine.effect()
    assert content(again) == "after"
    engine.answer(again, {"text": "x"})
    assert engine.end()["output"] == "x"


FLAG = """
@workflow.step
async def step(context):
    gave_up = []
    async def one():
        try:
            await asyncio.wait_for(ask(context, "slow"), SECONDS)
        except asyncio.TimeoutError:
            gave_up.append("slow")
    async def other():
        await ask(context, "other")
        return await ask(context, f"gave up {gave_up}")
    return (await asyncio.gather(one(), other()))[1]
"""


def test_a_wait_that_was_given_up_before_an_answer_is_given_up_before_it_again(project, python):
    write(project, FLAG, 0.05)
    journal, engine = Journal(), project.start(features=FEATURES)
    first = {content(frame): journal.ask(frame) for frame in engine.effects(2).values()}
    journal.cancel(engine.receive("effect_cancelled"))
    journal.record(engine, first["other"], {"text": ""})
    last = journal.ask(engine.effect())
    assert (content(last), last["after"]) == ("gave up ['slow']", 1)
    engine.close()
    write(project, FLAG, 3600)
    engine = project.start(features=FEATURES, **journal.resume())
    for frame in engine.effects(2).values():
        journal.replay(engine, frame)
    again = engine.effect()
    assert content(again) == "gave up ['slow']"
    engine.answer(again, {"text": "x"})
    assert engine.end()["output"] == "x"


def test_a_tool_that_was_given_up_is_said_to_be(project, python):
    project.steps(
        HEAD
        + """
@workflow.step
async def step(context):
    try:
        await asyncio.wait_for(context.tools.run(["sleep", "60"]), 0.05)
    except asyncio.TimeoutError:
        return "gave up"
"""
    )
    engine = project.start(features=FEATURES)
    tool = engine.effect()
    engine.answer(tool, {"execute": True})
    frame = engine.receive("effect_cancelled")
    assert (frame["path"], frame["seq"]) == (tool["path"], tool["seq"])
    assert engine.end()["output"] == "gave up"


def test_code_that_goes_another_way_is_not_waited_for(project, python):
    # The journal says that the step gave up and went on; now it waits without a time-out.
    write(project, WAIT_FOR, 0.05)
    journal, engine = Journal(), project.start(features=FEATURES)
    slow = journal.ask(engine.effect())
    after, cancelled = gave_up(engine)
    journal.cancel(cancelled[0])
    journal.ask(after)
    engine.close()
    project.steps(HEAD + '@workflow.step\nasync def step(context):\n    return await ask(context, "slow")\n')
    engine = project.start(features=FEATURES, **journal.resume())
    again = engine.effect()
    engine.answer(again, cancelled=True)
    said = engine.receive("suspended")
    assert said["on"] == [{"path": again["path"], "seq": again["seq"]}]
    error = {"code": "WFLO-3020", "kind": "replay_mismatch", "message": "had stopped waiting", "hint": None}
    engine.answer(again, error=error)
    end = engine.end()
    assert end["type"] == "failed"
    assert "had stopped waiting" in end["error"]["message"]
    assert slow["after"] == 0


def test_places_that_are_none_are_refused(project):
    project.steps(HEAD + '@workflow.step\nasync def step(context):\n    return await ask(context, "x")\n')
    engine = project.start(asked=[["0", "not a number"]])
    code, said = engine.ended()
    assert code != 0
    assert "places" in said
    with pytest.raises(Violation):
        engine.receive("effect")

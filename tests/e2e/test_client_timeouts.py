"""A stock client that gave up: it gives up again after a kill, at the same place, whatever came since."""

import signal

import pytest
from model import MockModel
from project import Project

ASYNC = """
    import openai

    QUESTION = dict(model="m", messages=[{"role": "user", "content": "slow"}], max_tokens=5)

    async def ask(**more):
        client = openai.AsyncOpenAI(max_retries=0)
        return (await client.chat.completions.create(**QUESTION, **more)).choices[0].message.content

    @workflow.step
    async def impatient(context):
        try:
            said = await CALL
        except (openai.APITimeoutError, asyncio.TimeoutError):
            said = "gave up"
        await context.db.execute("INSERT INTO log (what) VALUES (?)", [said])
        if context.resumes == 0:
            await asyncio.sleep(3600)
        return said
"""
SYNC = """
    import openai

    QUESTION = dict(model="m", messages=[{"role": "user", "content": "slow"}], max_tokens=5)

    @workflow.step
    def impatient(context):
        client = openai.OpenAI(max_retries=0)
        try:
            said = client.chat.completions.create(**QUESTION, timeout=SECONDS).choices[0].message.content
        except openai.APITimeoutError:
            said = "gave up"
        context.db.execute("INSERT INTO log (what) VALUES (?)", [said])
        if context.resumes == 0:
            time.sleep(3600)
        return said
"""
WAYS = {
    "async client": ASYNC.replace("CALL", "ask(timeout=SECONDS)"),
    "wait_for": ASYNC.replace("CALL", "asyncio.wait_for(ask(), SECONDS)"),
    "sync client": SYNC,
}


def start(project: Project, source: str, seconds: float):
    project.database("CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT NOT NULL)")
    project.steps(source.replace("SECONDS", str(seconds)))
    return project.start("run")


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_was_read_is_read_again(project: Project, model: MockModel, way: str) -> None:
    running = start(project, WAYS[way], 600)
    written = running.until("effect.finished", kind="db")
    running.kill()
    assert running.process.wait() == -signal.SIGKILL
    done = project.call("runs", "resume", written["run_id"], "--json")
    assert (done.code, done.run["outputs"]) == (0, {"impatient": "You said: slow"}), done
    assert model.asked() == {"slow": 1}
    assert project.rows("SELECT what FROM log") == [("You said: slow",)]


@pytest.mark.parametrize("late", [False, True], ids=["lost", "late"])
@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_was_given_up_is_given_up_again(project: Project, model: MockModel, way: str, late: bool) -> None:
    model.hold()
    running = start(project, WAYS[way], 2)
    written = running.until("effect.finished", kind="db")
    model.wait_for(1)
    if late:
        model.release()
        running.until("effect.finished", kind="llm")
    running.kill()
    assert running.process.wait() == -signal.SIGKILL
    model.release()
    done = project.call("runs", "resume", written["run_id"], "--json")
    assert (done.code, done.run["outputs"]) == (0, {"impatient": "gave up"}), done
    assert model.asked() == {"slow": 1}
    assert project.rows("SELECT what FROM log") == [("gave up",)]


REPEATED = """
    import openai

    async def ask(**more):
        call = dict(model="m", messages=[{"role": "user", "content": "slow"}], max_tokens=5)
        return (await openai.AsyncOpenAI(**more).chat.completions.create(**call)).choices[0].message.content

    @workflow.step
    async def impatient(context):
        said = []
        # Three tries of one call; then the same again, as a call of its own that attaches to the first.
        for wait in (ask(max_retries=2, timeout=1), asyncio.wait_for(ask(max_retries=0), 1)):
            try:
                said.append(await wait)
            except (openai.APITimeoutError, asyncio.TimeoutError):
                said.append("gave up")
        await context.db.execute("INSERT INTO log (what) VALUES (?)", [" ".join(said)])
        if context.resumes == 0:
            await asyncio.sleep(3600)
        said.append(await ask())
        return said
"""


@pytest.mark.parametrize("late", [False, True], ids=["lost", "late"])
def test_every_try_of_a_client_is_given_up_again_and_the_call_goes_on_being_one(
    project: Project, model: MockModel, late: bool
) -> None:
    model.hold()
    running = start(project, REPEATED, 1)
    written = running.until("effect.finished", kind="db")
    model.wait_for(1)
    if late:
        model.release()
        running.until("effect.finished", kind="llm")
    running.kill()
    assert running.process.wait() == -signal.SIGKILL
    model.release()
    done = project.call("runs", "resume", written["run_id"], "--json")
    expected = ["gave up", "gave up", "You said: slow"]
    assert (done.code, done.run["outputs"]) == (0, {"impatient": expected}), done
    assert project.rows("SELECT what FROM log") == [("gave up gave up",)]
    # The last question attaches to the call that nobody waits for. If its answer was lost, the call is made
    # again and the lost one is charged.
    assert model.asked() == {"slow": 1 if late else 2}
    ends = [e for e in project.events(written["run_id"]) if e["type"] == "effect.finished" and e["kind"] == "llm"]
    assert [e.get("uncertain", False) for e in ends] == [not late]


def test_a_stream_that_was_read_as_far_as_it_was_wanted_is_read_so_far_again(
    project: Project, model: MockModel
) -> None:
    source = """
        import openai

        @workflow.step
        async def reads(context):
            call = dict(model="m", messages=[{"role": "user", "content": "one two three"}], max_tokens=5)
            stream = await openai.AsyncOpenAI(max_retries=0).chat.completions.create(**call, stream=True)
            said = ""
            async for part in stream:
                said += part.choices[0].delta.content or ""
                if "one" in said:
                    break
            await stream.close()
            await context.db.execute("INSERT INTO log (what) VALUES (?)", [said])
            if context.resumes == 0:
                await asyncio.sleep(3600)
            return said
    """
    running = start(project, source, 1)
    written = running.until("effect.finished", kind="db")
    running.kill()
    assert running.process.wait() == -signal.SIGKILL
    done = project.call("runs", "resume", written["run_id"], "--json")
    assert (done.code, done.run["outputs"]) == (0, {"reads": "You said: one "}), done
    assert project.rows("SELECT what FROM log") == [("You said: one ",)]

"""Recordings: a run's model calls answered from a file, without a provider."""

import json
import signal

from model import MockModel
from project import Project

CALLS = """
    import threading
    import openai

    @workflow.step
    async def asks(context):
        ask = lambda what: context.llm.chat(model="m", messages=[{"role": "user", "content": what}], max_tokens=5)
        said = [reply.text for reply in await asyncio.gather(ask("one"), ask("one"), ask("two"))]
        said.append((await ask(f"{await context.now()} {await context.random()}")).text)
        async for part in context.llm.stream(model="claude-m", messages=[{"role": "user", "content": "three four"}], max_tokens=5):
            said.append(part.text)
        await context.db.execute("INSERT INTO log (what) VALUES (?)", [" ".join(said)])
        return said

    @workflow.step(depends_on=["asks"])
    def threads(context):
        client, said = openai.OpenAI(max_retries=0), {}
        def ask(n):
            call = dict(model="m", messages=[{"role": "user", "content": f"thread {n % 2}"}], max_tokens=5)
            if n % 2:
                parts = client.chat.completions.create(**call, stream=True)
                said[n] = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
            else:
                said[n] = client.chat.completions.create(**call).choices[0].message.content
        workers = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
        for worker in workers: worker.start()
        for worker in workers: worker.join()
        if PAUSE and context.resumes == 0:
            time.sleep(3600)
        return [said[n] for n in range(4)]
"""


def recorded(project: Project) -> dict:
    """A run with its answers in `calls.jsonl`; its outputs."""
    project.database("CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT NOT NULL)")
    project.steps(CALLS.replace("PAUSE", "False"))
    done = project.run("--record", "calls.jsonl")
    assert done.code == 0, done
    assert "9 answers" in done.err
    return done.run["outputs"]


def test_a_replayed_run_gives_the_same_without_a_provider_or_a_key(project: Project, model: MockModel) -> None:
    outputs = recorded(project)
    model.__exit__()
    del project.environment["MODEL_KEY"]
    asked = sum(model.asked().values())
    done = project.run("--replay", "calls.jsonl", "--budget", "0.000001")
    assert (done.code, done.run["outputs"]) == (0, outputs), done
    assert (done.run["cost_usd"], sum(model.asked().values())) == ("0.00", asked)
    assert project.rows("SELECT count(*) FROM log") == [(2,)]
    # The answers of a replayed run are a recording as well.
    again = project.call("runs", "record", "latest", "again.jsonl")
    assert again.code == 0, again
    kept = [json.loads(line) for line in (project.folder / "again.jsonl").read_text().splitlines()]
    assert len(kept) == 12
    assert "sk-the-real-key" not in (project.folder / "calls.jsonl").read_text()


def test_a_replayed_run_that_was_killed_goes_on_from_the_recording(project: Project, model: MockModel) -> None:
    outputs = recorded(project)
    model.__exit__()
    project.steps(CALLS.replace("PAUSE", "True"))
    running = project.start("run", "--replay", "calls.jsonl")
    first = running.until("step.started", step="threads")
    for _ in range(4):
        running.until("effect.finished", kind="llm", step="threads")
    running.kill()
    assert running.process.wait() == -signal.SIGKILL
    done = project.call("runs", "resume", first["run_id"], "--json")
    assert (done.code, done.run["outputs"]) == (0, outputs), done


def test_a_call_that_was_not_recorded_is_refused_and_not_made(project: Project, model: MockModel) -> None:
    recorded(project)
    before = sum(model.asked().values())
    project.steps(CALLS.replace("PAUSE", "False").replace('ask("two")', 'ask("other")'))
    done = project.run("--replay", "calls.jsonl")
    assert done.code == 1, done
    assert done.run["error"]["code"] == "WFLO-4099", done
    assert sum(model.asked().values()) == before


def test_a_file_that_is_no_recording_starts_nothing(project: Project) -> None:
    project.steps("@workflow.step\nasync def nothing(context): pass")
    (project.folder / "calls.jsonl").write_text("{}\n")
    for name, said in (("calls.jsonl", "line 1 of the recording"), ("none.jsonl", "No such file")):
        done = project.call("run", "--replay", name)
        assert done.code == 1, done
        assert said in done.err and "WFLO-4098" in done.err, done
    assert "No runs yet" in project.call("runs", "list").err


def test_a_recording_that_went_away_pauses_the_run(project: Project) -> None:
    outputs = recorded(project)
    done = project.call("run", "--replay", "calls.jsonl", "--no-drive")
    assert done.code == 0, done
    away = (project.folder / "calls.jsonl").rename(project.folder / "away.jsonl")
    paused = project.call("runs", "resume", "latest", "--json")
    assert paused.code == 75, paused
    assert "WFLO-4098" in paused.err, paused
    away.rename(project.folder / "calls.jsonl")
    done = project.call("runs", "resume", "latest", "--json")
    assert (done.code, done.run["outputs"]) == (0, outputs), done

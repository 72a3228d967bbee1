"""A step that went on without an answer: it goes the same way after a kill, whatever came since."""

import signal
from decimal import Decimal

from model import MockModel
from project import Project, wait_for

SLOW = """
    def asked(word):
        return dict(model="m", messages=[{"role": "user", "content": word}], max_tokens=5)

    @workflow.step
    async def impatient(context):
        try:
            said = (await asyncio.wait_for(context.llm.chat(**asked("slow")), SECONDS)).text
        except asyncio.TimeoutError:
            said = "gave up"
        await context.db.execute("INSERT INTO log (what) VALUES (?)", [said])
        if context.resumes == 0:
            await asyncio.sleep(3600)
        return said
"""


def start(project: Project, model: MockModel, source: str = SLOW):
    project.database("CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT NOT NULL)")
    project.steps(source.replace("SECONDS", "0.3"))
    model.hold()
    return project.start("run")


def test_an_answer_that_came_too_late_comes_too_late_after_a_kill(project: Project, model: MockModel) -> None:
    running = start(project, model)
    running.until("effect.finished", kind="db")
    model.release()
    late = running.until("effect.finished", kind="llm")
    running.kill()
    assert running.process.wait() == -signal.SIGKILL
    done = project.call("runs", "resume", late["run_id"], "--json")
    assert (done.code, done.run["outputs"]["impatient"]) == (0, "gave up"), done
    assert model.asked() == {"slow": 1}, "it is paid once, and its answer is kept though nobody waits for it"
    assert Decimal(late["cost_usd"]) > 0
    assert done.run["cost_usd"] == late["cost_usd"]
    assert project.rows("SELECT what FROM log") == [("gave up",)]


def test_a_call_that_was_given_up_is_not_made_again(project: Project, model: MockModel) -> None:
    running = start(project, model)
    written = running.until("effect.finished", kind="db")
    model.wait_for(1)
    running.kill()
    running.process.wait()
    model.release()
    done = project.call("runs", "resume", written["run_id"], "--json")
    assert (done.code, done.run["outputs"]["impatient"]) == (0, "gave up"), done
    assert model.asked() == {"slow": 1}
    assert project.rows("SELECT what FROM log") == [("gave up",)]
    # What it cost was lost with its answer: all that it could have cost is charged, and it says so.
    lost = [e for e in project.events(written["run_id"]) if e["type"] == "effect.finished" and e["kind"] == "llm"]
    assert [e["uncertain"] for e in lost] == [True]
    assert done.run["cost_usd"] == lost[0]["cost_usd"]


def test_a_question_that_nobody_waits_for_is_taken_back(project: Project, model: MockModel) -> None:
    running = start(
        project,
        model,
        """
    @workflow.step
    async def impatient(context):
        try:
            said = (await asyncio.wait_for(context.approve("Go on?"), SECONDS)).approved
        except asyncio.TimeoutError:
            said = "nobody"
        await context.db.execute("INSERT INTO log (what) VALUES (?)", [said])
        if context.resumes == 0:
            await asyncio.sleep(3600)
        return said
""",
    )
    asked = running.until("approval.requested")
    running.until("approval.superseded")
    running.until("effect.finished", kind="db")
    refused = project.call("approvals", "approve", asked["approval_id"], "--no-drive")
    assert refused.code != 0, refused
    running.kill()
    running.process.wait()
    done = project.call("runs", "resume", asked["run_id"], "--json")
    assert (done.code, done.run["outputs"]["impatient"]) == (0, "nobody"), done
    assert project.rows("SELECT what FROM log") == [("nobody",)]


def test_a_write_that_was_given_up_before_it_was_approved_is_not_made(project: Project, model: MockModel) -> None:
    running = start(
        project,
        model,
        """
    @workflow.step(approval_required=True)
    async def impatient(context):
        try:
            # No changeset holds it, so it waits for its own question.
            await asyncio.wait_for(context.db.execute("CREATE TABLE other (what TEXT)"), SECONDS)
        except asyncio.TimeoutError:
            return "not written"
""",
    )
    asked = running.until("approval.requested")
    running.until("approval.superseded", approval_id=asked["approval_id"])
    # The step wrote nothing, so it is asked about its output.
    output = running.until("approval.requested")
    assert project.call("approvals", "approve", output["approval_id"], "--no-drive").code == 0
    done = running.finish()
    if done.code == 75:
        done = project.call("runs", "resume", asked["run_id"], "--json")
    assert (done.code, done.run["outputs"]["impatient"]) == (0, "not written"), done
    assert project.rows("SELECT name FROM sqlite_schema WHERE name = 'other'") == []


def test_a_race_that_was_lost_is_lost_again(project: Project, model: MockModel) -> None:
    running = start(
        project,
        model,
        """
    @workflow.step
    async def race(context):
        async def call(word):
            said = await context.llm.chat(model="m", messages=[{"role": "user", "content": word}], max_tokens=5)
            return said.text
        tasks = [asyncio.create_task(call("racer")), asyncio.create_task(context.sleep(0.1))]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        winner = tasks.index(done.pop())
        await context.db.execute("INSERT INTO log (what) VALUES (?)", [str(winner)])
        if context.resumes == 0:
            await asyncio.sleep(3600)
        return winner
""",
    )
    running.until("effect.finished", kind="db")
    model.release()
    late = running.until("effect.finished", kind="llm")
    running.kill()
    running.process.wait()
    done = project.call("runs", "resume", late["run_id"], "--json")
    assert (done.code, done.run["outputs"]["race"]) == (0, 1), done
    assert (model.asked(), project.rows("SELECT what FROM log")) == ({"racer": 1}, [("1",)])


def test_a_step_that_waits_for_what_it_had_given_up_fails_and_says_so(project: Project, model: MockModel) -> None:
    # Whether it has a time-out depends on what it finds, which is not what it found the first time.
    running = start(
        project,
        model,
        """
    @workflow.step
    async def impatient(context):
        question = dict(model="m", messages=[{"role": "user", "content": "slow"}], max_tokens=5)
        task = asyncio.create_task(context.llm.chat(**question))
        if context.resumes > 0:
            return (await task).text
        try:
            await asyncio.wait_for(task, SECONDS)
        except asyncio.TimeoutError:
            await context.db.execute("INSERT INTO log (what) VALUES ('gave up')")
            await asyncio.sleep(3600)
""",
    )
    written = running.until("effect.finished", kind="db")
    model.wait_for(1)
    running.kill()
    running.process.wait()
    model.release()
    done = project.call("runs", "resume", written["run_id"], "--json")
    assert done.code == 1, done
    assert done.run["error"]["code"] == "WFLO-3020", done
    assert "stopped waiting" in done.run["error"]["message"], done
    assert model.asked() == {"slow": 1}
    wait_for(lambda: project.processes() == [], "no process is left")

"""`--no-wait`: a script leaves a run that waits for people, and anybody goes on with it."""

import json

from project import Project

STEPS = """
    @workflow.step
    async def before(context):
        await context.sleep(0.2)
        return 1

    @workflow.step
    async def ask(context):
        return (await context.approve("publish?")).comment
"""


def test_a_script_is_told_what_the_run_waits_for_and_left_alone(project: Project) -> None:
    project.steps(STEPS)
    left = project.call("run", "--no-wait")
    assert left.code == 75, left
    run = json.loads(project.call("runs", "list", "--json").out)
    assert run["status"] == "waiting", run
    assert f"{run['id']} waits for approval apr_" in left.out and "publish?" in left.out, left
    shown = project.call("runs", "list").out
    assert "none" in shown, "no process has it"
    done = project.call("approvals", "approve", "latest", "--comment", "yes", "--json")
    assert done.code == 0 and done.run["outputs"] == {"before": 1, "ask": "yes"}, done


def test_the_last_line_for_scripts_names_the_run(project: Project) -> None:
    project.steps(STEPS)
    left = project.run("--no-wait")
    assert left.code == 75, left
    assert left.of("run.waiting"), left
    last = left.events[-1]
    assert last["run_id"] == last["run"]["id"] and last["run"]["status"] == "waiting", last
    assert {event["run_id"] for event in left.events} == {last["run_id"]}


def test_resume_and_retry_leave_as_well(project: Project) -> None:
    project.steps(STEPS)
    assert project.call("run", "--no-wait").code == 75
    assert project.call("runs", "resume", "latest", "--no-wait").code == 75
    assert project.call("runs", "retry", "latest", "--no-wait").code == 75
    assert project.call("runs", "retry", "latest", "--no-wait", "--detach").code == 2


def test_a_run_that_ends_ends_as_ever(project: Project) -> None:
    project.steps("""
    @workflow.step
    def work(context):
        return 1
    """)
    assert project.call("run", "--no-wait").code == 0

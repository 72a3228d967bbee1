"""Commands that people are asked about before they start: guarded ones of steps that ask, and those that a rule names."""

import signal
from pathlib import Path

import pytest
from project import Project, wait_for

# Each run of the command leaves a line where the test can count it: in a folder that is shown writable.
MARK = "echo ran >> /marks/ran; echo done"

TOOL = """
    @workflow.step(approval_required=APPROVAL, effect_class=CLASS)
    async def publish(context):
        made = await context.tools.run(["sh", "-c", "MARK"])
        await context.random()
        if context.inputs.get("stay") and context.resumes <= context.inputs["stay"]:
            time.sleep(3600)
        return made.stdout
""".replace("MARK", MARK)

YAML = """
    apiVersion: wflo.dev/v1
    kind: Workflow
    name: publishing
    steps:
      - {{name: publish, type: tool, run: [sh, -c, "{mark}"], effect_class: guarded{more}}}
"""


@pytest.fixture
def marked(project: Project) -> Project:
    """A project whose commands can say that they ran."""
    folder = marks(project).parent
    folder.mkdir()
    marks(project).write_text("")
    folder.chmod(0o777)
    marks(project).chmod(0o666)
    project.write_settings(f'[sandbox]\nrw = ["{folder}:/marks"]\n')
    return project


def marks(project: Project) -> Path:
    return project.folder.parent / "marks" / "ran"


def runs(project: Project) -> int:
    return len(marks(project).read_text().splitlines())


def code(project: Project, approval: bool, guarded: bool) -> None:
    text = TOOL.replace("APPROVAL", str(approval)).replace("CLASS", repr("guarded" if guarded else "idempotent"))
    project.steps(text)


@pytest.mark.parametrize("how", ["step", "flag"])
def test_a_guarded_command_of_a_step_starts_once_it_is_approved(marked: Project, how: str) -> None:
    code(marked, approval=how == "step", guarded=True)
    running = marked.start("run", *(["--require-approval"] if how == "flag" else []))
    asked = running.until("approval.requested")
    assert runs(marked) == 0, "nothing has started"
    assert asked["purpose"] == "write" and asked["evidence"]["argv"] == ["sh", "-c", MARK], asked
    shown = marked.call("approvals", "show", asked["approval_id"])
    assert MARK in shown.out, shown
    assert marked.call("approvals", "approve", asked["approval_id"]).code == 0
    done = running.finish()
    assert done.code == 0 and runs(marked) == 1, done
    assert len(done.of("approval.requested")) == 1, "its output is not asked about as well"
    assert len(done.of("approval.consumed")) == 1


@pytest.mark.parametrize("how", ["step", "flag"])
def test_a_guarded_command_of_a_written_workflow_starts_once_it_is_approved(marked: Project, how: str) -> None:
    more = ", approval: {required: true}" if how == "step" else ""
    marked.write("flow.yaml", YAML.format(mark=MARK, more=more))
    flag = ["--require-approval"] if how == "flag" else []
    running = marked.start("run", "flow.yaml", *flag)
    asked = running.until("approval.requested")
    assert runs(marked) == 0 and asked["evidence"]["argv"] == ["sh", "-c", MARK], asked
    assert marked.call("approvals", "approve", asked["approval_id"]).code == 0
    done = running.finish()
    assert done.code == 0 and runs(marked) == 1, done
    assert len(done.of("approval.requested")) == 1 and len(done.of("approval.consumed")) == 1


def test_a_no_ends_the_run_and_the_command_never_starts(marked: Project) -> None:
    code(marked, approval=True, guarded=True)
    running = marked.start("run")
    asked = running.until("approval.requested")
    assert marked.call("approvals", "reject", asked["approval_id"]).code == 0
    assert running.finish().code == 3 and runs(marked) == 0


def test_a_kill_before_and_after_the_answer_asks_once_and_runs_once(marked: Project) -> None:
    code(marked, approval=True, guarded=True)
    running = marked.start("run", "--input", "stay=1")
    asked = running.until("approval.requested")
    running.kill()
    assert running.process.wait() == -signal.SIGKILL
    assert marked.call("approvals", "approve", asked["approval_id"], "--no-drive").code == 0
    running = marked.start("runs", "resume", asked["run_id"])
    running.until("effect.finished", kind="random")
    running.kill()
    assert running.process.wait() == -signal.SIGKILL
    assert runs(marked) == 1
    done = marked.call("runs", "resume", asked["run_id"], "--json")
    assert done.code == 0 and runs(marked) == 1, done
    kinds = [event["type"] for event in marked.events(asked["run_id"])]
    assert kinds.count("approval.requested") == kinds.count("approval.consumed") == 1, kinds


def test_a_command_that_a_rule_names_is_asked_about_whatever_the_run_says(marked: Project) -> None:
    marked.write_settings('[approvals]\ncommands = ["sh -c *", "git push *"]\n')
    code(marked, approval=False, guarded=False)
    running = marked.start("run")
    asked = running.until("approval.requested")
    assert runs(marked) == 0 and asked["evidence"]["rule"] == "sh -c *", asked
    assert marked.call("approvals", "approve", asked["approval_id"]).code == 0
    done = running.finish()
    assert done.code == 0 and runs(marked) == 1 and len(done.of("approval.requested")) == 1, done


def test_a_program_that_a_rule_names_is_asked_about_before_it_starts(marked: Project) -> None:
    marked.write_settings('[approvals]\ncommands = ["sh -c *"]\n')
    marked.steps("")
    running = marked.begin(str(marked.wflo), "run", "--json", "--", "sh", "-c", MARK)
    asked = running.until("approval.requested")
    assert runs(marked) == 0 and asked["evidence"]["argv"][0] == "sh", asked
    assert marked.call("approvals", "approve", asked["approval_id"]).code == 0
    assert running.finish().code == 0 and runs(marked) == 1
    done = marked.call("run", "--json", "--", "true")
    assert done.code == 0 and not done.of("approval.requested"), done


def test_a_command_and_what_it_is_given_are_shown_whole(marked: Project) -> None:
    marked.write_settings('[approvals]\ncommands = ["sh *"]\n')
    marked.steps("""
    @workflow.step
    async def publish(context):
        script = "echo ok" + " " * 5000 + "; echo " + "x" * 3000 + "END"
        env = {f"NAME_{n}": "v" * 300 for n in range(300)}
        await context.tools.run(["sh", "-c", script], stdin="line\\n" * 10_000 + "LAST", env=env)
    """)
    running = marked.start("run")
    asked = running.until("approval.requested")
    assert asked["evidence"]["stdin"] == "line\n" * 10_000 + "LAST", "nothing of it is cut"
    shown = marked.call("approvals", "show", asked["approval_id"]).out
    assert "ok⟨5000 blanks⟩; echo xxx" in shown and "xEND" in shown, shown[:9000]
    assert "LAST" in shown and "NAME_299=" in shown and "(10001 lines, 50004 bytes)" in shown
    assert marked.call("approvals", "reject", asked["approval_id"]).code == 0
    running.finish()


@pytest.mark.parametrize("then", ["fail", "rerun"])
def test_a_guarded_command_that_may_have_run_is_not_run_again_by_itself(marked: Project, then: str) -> None:
    stay = MARK + "; if [ $(wc -l < /marks/ran) = 1 ]; then sleep 1000; fi"
    more = f", on_ambiguous: {then}, approval: {{required: true}}"
    marked.write("flow.yaml", YAML.format(mark=stay, more=more))
    running = marked.start("run", "flow.yaml")
    asked = running.until("approval.requested")
    assert marked.call("approvals", "approve", asked["approval_id"]).code == 0
    wait_for(lambda: runs(marked) == 1, "it has begun")
    running.kill()
    running.finish()
    done = marked.call("runs", "resume", asked["run_id"], "--json")
    assert not done.of("approval.requested"), done
    if then == "rerun":
        assert done.code == 0 and runs(marked) == 2, done
    else:
        assert done.code == 1 and "WFLO-3023" in done.out and runs(marked) == 1, done


@pytest.mark.parametrize("of", ["step", "tools", "program"])
def test_a_yes_to_a_command_that_a_rule_names_is_one_start(marked: Project, of: str) -> None:
    """Guarded or not: a kill while it runs does not start it again by the same yes."""
    stay = MARK + "; if [ $(wc -l < /marks/ran) = 1 ]; then sleep 1000; fi"
    marked.write_settings('[approvals]\ncommands = ["sh -c *"]\n')
    if of == "step":
        marked.write("flow.yaml", YAML.format(mark=stay, more="").replace(", effect_class: guarded", ""))
        running = marked.start("run", "flow.yaml")
    elif of == "tools":
        marked.steps(f"""
    @workflow.step
    async def publish(context):
        await context.tools.run(["sh", "-c", {stay!r}])
    """)
        running = marked.start("run")
    else:
        marked.steps("")
        running = marked.begin(str(marked.wflo), "run", "--json", "--", "sh", "-c", stay)
    asked = running.until("approval.requested")
    assert marked.call("approvals", "approve", asked["approval_id"]).code == 0
    wait_for(lambda: runs(marked) == 1, "it has begun")
    running.kill()
    running.finish()
    if of != "program":
        done = marked.call("runs", "resume", asked["run_id"], "--json")
        assert done.code == 1 and "WFLO-3023" in done.out and runs(marked) == 1, done
        return
    # A program begins anew, and people are asked anew.
    running = marked.start("runs", "resume", asked["run_id"])
    again = running.until("approval.requested")
    assert again["approval_id"] != asked["approval_id"] and runs(marked) == 1, again
    assert marked.call("approvals", "approve", again["approval_id"]).code == 0
    assert running.finish().code == 0 and runs(marked) == 2

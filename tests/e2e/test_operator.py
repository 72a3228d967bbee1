"""What only the operator can put right: a provider's address, a provider's key. Nothing is sent, nothing is lost.

A run is paused with the reason (75), and goes on where it was once that is put right.
"""

import json
import textwrap

import pytest
from model import MockModel
from project import Done, Project

MODEL = """
[models."m"]
input = "10.00"
output = "40.00"
context_tokens = 4096
max_output_tokens = 2048
"""
STEPS = """
    async def ask(context, word, model="m"):
        messages = [{"role": "user", "content": word}]
        return (await context.llm.chat(model=model, messages=messages, max_tokens=20)).text

    @workflow.step
    async def first(context):
        return await ask(context, "first")

    @workflow.step(approval_required=True)
    async def write(context):
        await context.db.execute("UPDATE t SET v = 'written'")

    @workflow.step
    async def last(context):
        return [await ask(context, f"last {n}") for n in range(2)]
"""


@pytest.fixture
def plain(project: Project) -> Project:
    """The project without a provider of its own: what the environment says decides."""
    project.settings = '[project]\nname = "e2e"\nworkflow = "workflow.py"\n' + MODEL
    project.environment.pop("MODEL_KEY")
    project.write_settings()
    return project


def reason(done: Done, code: str) -> dict:
    """That the run was left paused for this, and nothing failed."""
    assert done.code == 75, done
    assert done.run["status"] == "paused", done
    assert done.run["error"]["code"] == code, done
    assert code in done.err and f"wflo runs resume {done.run['id']}" in done.err, done
    assert not done.of("step.failed"), done
    return done.run["error"]


def test_a_decision_in_another_shell_sends_nothing_anywhere_else(plain: Project, model: MockModel) -> None:
    plain.database("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t (v) VALUES ('old');")
    plain.steps(STEPS)
    here = {"OPENAI_BASE_URL": f"{model.address}/v1", "OPENAI_API_KEY": "sk-the-real-key"}
    plain.environment |= here
    running = plain.start("run")
    asked = running.until("approval.requested")["approval_id"]
    running.kill()
    running.finish()
    with MockModel() as other:
        elsewhere = {"OPENAI_BASE_URL": f"{other.address}/v1", "OPENAI_API_KEY": "sk-of-another-host"}
        done = plain.call("approvals", "approve", asked, "--json", **elsewhere)
        moved = reason(done, "WFLO-4024")
        assert model.address in moved["message"] and other.address in moved["message"]
        # The decision counted, and what it released was done.
        assert plain.rows("SELECT v FROM t") == [("written",)]
        # A shell that says nothing means the public address, which is elsewhere too.
        plain.environment = {name: value for name, value in plain.environment.items() if name not in here}
        reason(plain.call("runs", "resume", done.run["id"], "--json"), "WFLO-4024")
        assert not other.entries
    done = plain.call("runs", "resume", done.run["id"], "--json", **here)
    assert done.code == 0, done
    assert model.asked() == {"first": 1, "last 0": 1, "last 1": 1}
    assert {entry["key"] for entry in model.entries} == {"sk-the-real-key"}
    # What the run is sealed with holds no key.
    assert "sk-the-real-key" not in json.dumps([done.events, plain.show(done.run["id"])])


def test_a_run_is_moved_to_another_address_by_a_retry(plain: Project, model: MockModel) -> None:
    plain.database("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t (v) VALUES ('old');")
    plain.steps(STEPS)
    plain.environment |= {"OPENAI_BASE_URL": f"{model.address}/v1"}
    running = plain.start("run")
    asked = running.until("approval.requested")["approval_id"]
    running.kill()
    running.finish()
    with MockModel() as other:
        plain.environment |= {"OPENAI_BASE_URL": f"{other.address}/v1"}
        done = plain.call("approvals", "approve", asked, "--json")
        run = reason(done, "WFLO-4024") and done.run["id"]
        assert plain.call("runs", "cancel", run).code == 0
        done = plain.call("runs", "retry", run, "--json")
        assert done.code == 0, done
        assert other.asked() == {"last 0": 1, "last 1": 1}
    assert model.asked() == {"first": 1}


def test_a_key_that_is_missing_leaves_the_run_for_whoever_has_it(plain: Project) -> None:
    plain.steps("""
        @workflow.step
        async def one(context):
            try:
                messages = [{"role": "user", "content": "hello"}]
                return (await context.llm.chat(model="gpt-5-mini", messages=messages, max_tokens=5)).text
            except BaseException as error:
                return f"the step heard {error!r}"
    """)
    done = plain.run()
    missing = reason(done, "WFLO-4021")
    assert "OPENAI_API_KEY" in missing["hint"]
    again = plain.call("runs", "resume", done.run["id"], "--json")
    reason(again, "WFLO-4021")
    shown = plain.call("runs", "show", done.run["id"])
    assert "paused:" in shown.out and "WFLO-4021" in shown.out, shown


def test_a_stock_client_without_a_key_waits_too(plain: Project) -> None:
    plain.steps("""
        @workflow.step
        def one(context):
            import openai
            client = openai.OpenAI(max_retries=0)
            messages = [{"role": "user", "content": "hello"}]
            return client.chat.completions.create(model="gpt-5-mini", messages=messages).id
    """)
    reason(plain.run(), "WFLO-4021")


def test_a_prompt_whose_model_has_no_key_or_no_price_is_refused_before_anything_runs(plain: Project) -> None:
    for name, code, said in (("gpt-5-mini", "WFLO-4021", "OPENAI_API_KEY"), ("gpt5-mini", "WFLO-4002", "gpt-5-mini")):
        plain.write(
            "flow.yaml",
            textwrap.dedent(f"""
                apiVersion: wflo.dev/v1
                kind: Workflow
                name: flow
                steps:
                  - name: first
                    type: tool
                    run: ["true"]
                  - name: ask
                    type: agent
                    model: {name}
                    prompt: hello
            """),
        )
        done = plain.call("run", "flow.yaml", "--json")
        assert done.code == 2, done
        assert code in done.out + done.err and said in done.out + done.err, done
    assert plain.call("runs", "list", "--json").out == ""

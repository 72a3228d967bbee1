"""A model provider that hangs, breaks, lies and refuses: nothing is lost, paid twice or left held.

In each test the provider's own count is compared with what wflo says it was asked and what it charged.
"""

import json
import signal
import subprocess
from decimal import Decimal

from model import MockModel
from project import Done, Project

PRICE = Decimal("0.0003")  # of one good answer: 10 tokens in, 5 out
FAULTS = {
    "no http": "WFLO-4009",
    "reset": "WFLO-4010",
    "cut": "WFLO-4010",
    "garbage": "WFLO-4020",
    "wrong json": "WFLO-4020",
    "429": "WFLO-4019",
    "429 0": "WFLO-4019",
    "500": "WFLO-4019",
}
HANGS = ("hang", "hang after head", "hang in the middle")
ASK = """
workflow.set_budget(max_cost_usd="5.00", action_on_exceeded="halt")

async def ask(context, way, word):
    call = dict(model="m", messages=[{"role": "user", "content": word}], max_tokens=5)
    try:
        if way == "chat":
            return (await context.llm.chat(**call)).text
        return "".join([delta.text async for delta in context.llm.stream(**call)])
    except WfloError as error:
        return error.code
"""


def the_books_are_right(done: Done, calls: int) -> list[dict]:
    """Every call has one end, what was charged is what the run's budget says, and nothing is held."""
    ends = done.of("effect.finished", kind="llm")
    assert len(ends) == calls, done
    budget = done.run["budget"]
    assert Decimal(budget["held_usd"]) == 0
    spent = sum((Decimal(end["cost_usd"]) for end in ends), Decimal(0))
    assert spent == Decimal(done.run["cost_usd"]) == Decimal(budget["settled_usd"]) <= Decimal(budget["limit_usd"])
    return ends


def test_whatever_the_provider_answers_each_call_has_one_end_and_one_charge(project: Project, model: MockModel) -> None:
    words = {f"{way} {fault}": fault for way in ("chat", "stream") for fault in FAULTS}
    words["stream error event"] = "error event"
    model.faults = {word: [fault] for word, fault in words.items()}
    source = f"""
@workflow.step(timeout_seconds=600)
async def all_of_them(context):
    said = {{word: await ask(context, word.split()[0], word) for word in {list(words)}}}
    return [said, await ask(context, "chat", "still here")]
"""
    project.steps(ASK + source)
    done = project.run()
    assert done.code == 0, done
    said, last = done.run["outputs"]["all_of_them"]
    assert last == "You said: still here"
    # An answer that is no stream is read as the stream that was asked for: there, garbage is cut short.
    expected = {word: FAULTS.get(fault, "WFLO-4010") for word, fault in words.items()}
    assert said == expected
    # Nothing was asked twice: whether it is worth it is the step's to say.
    assert model.asked() == dict.fromkeys([*words, "still here"], 1)
    ends = the_books_are_right(done, len(words) + 1)
    for end, word in zip(ends, [*words, "still here"], strict=True):
        refused = words.get(word, "good")[0].isdigit()
        # A refusal costs nothing; an answer that broke may have been billed in full.
        assert end.get("uncertain", False) is (word != "still here" and not refused), (word, end)
        assert (Decimal(end["cost_usd"]) == 0) is refused, (word, end)
    assert Decimal(ends[-1]["cost_usd"]) == PRICE


def test_stock_clients_repeat_what_is_worth_it_and_pay_once(project: Project, model: MockModel) -> None:
    model.faults = {"busy": ["429 0", "500"], "down": ["500"] * 3, "broken": ["reset"]}
    project.steps("""
        workflow.set_budget(max_cost_usd="5.00", action_on_exceeded="halt")

        @workflow.step
        def stock(context):
            import openai
            client = openai.OpenAI()
            def ask(word, **more):
                try:
                    ask = [{"role": "user", "content": word}]
                    said = client.chat.completions.create(model="m", messages=ask, max_tokens=5, **more)
                    return "".join(p.choices[0].delta.content or "" for p in said) if more else said.choices[0].message.content
                except openai.OpenAIError as error:
                    return type(error).__name__
            return [ask("busy"), ask("down"), ask("broken", stream=True), ask("good")]
    """)
    done = project.run()
    assert done.code == 0, done
    busy, down, broken, good = done.run["outputs"]["stock"]
    assert (busy, down, good) == ("You said: busy", "InternalServerError", "You said: good")
    assert broken in ("APIError", "APIConnectionError"), broken
    assert model.asked() == {"busy": 3, "down": 3, "broken": 1, "good": 1}
    ends = the_books_are_right(done, 8)
    assert sum(Decimal(end["cost_usd"]) == PRICE for end in ends) == 2
    assert sum(end.get("uncertain", False) for end in ends) == 1


HANGING = f"""{ASK}
@workflow.step(timeout_seconds=LIMIT)
async def all_at_once(context):
    hanging = (ask(context, "stream", word) for word in {list(HANGS)})
    return await asyncio.gather(*hanging, ask(context, "chat", "good"))
"""


def test_a_step_out_of_time_does_not_wait_for_a_provider_that_hangs(project: Project, model: MockModel) -> None:
    model.faults = {word: [word] for word in HANGS}
    project.steps(HANGING.replace("LIMIT", "5"))
    done = project.run()
    assert (done.code, done.run["error"]["code"]) == (5, "WFLO-3002"), done
    ends = the_books_are_right(done, 4)
    assert sorted(end.get("uncertain", False) for end in ends) == [False, True, True, True]
    assert project.processes() == []


def test_a_cancelled_run_does_not_wait_for_a_provider_that_hangs(project: Project, model: MockModel) -> None:
    model.faults = {word: [word] for word in HANGS}
    project.steps(HANGING.replace("LIMIT", "600"))
    running = project.start("run")
    run = running.until("effect.finished", kind="llm")["run_id"]
    model.wait_for(4)
    assert project.call("runs", "cancel", run).code in (0, 75)
    done = running.finish()
    assert (done.code, done.run["status"]) == (5, "cancelled"), done
    ends = the_books_are_right(done, 4)
    assert sorted(end.get("uncertain", False) for end in ends) == [False, True, True, True]
    assert project.processes() == []


def test_a_kill_while_the_provider_hangs_repeats_only_what_had_no_answer(project: Project, model: MockModel) -> None:
    model.faults = {word: [word] for word in HANGS}
    project.steps(HANGING.replace("LIMIT", "600"))
    running = project.start("run")
    run = running.until("effect.finished", kind="llm")["run_id"]
    model.wait_for(4)
    running.kill(signal.SIGKILL)
    running.finish()
    shown = project.show(run)
    assert Decimal(shown["budget"]["held_usd"]) > 0
    done = project.call("runs", "resume", run, "--json")
    assert done.code == 0, done
    assert done.run["outputs"]["all_at_once"] == [f"You said: {word}" for word in (*HANGS, "good")]
    assert model.asked() == {**dict.fromkeys(HANGS, 2), "good": 1}
    lines = [json.dumps(event) for event in [*project.events(run), done.events[-1]]]
    ends = the_books_are_right(Done(subprocess.CompletedProcess([], 0, "\n".join(lines), "")), 4)
    assert sorted(end.get("uncertain", False) for end in ends) == [False, True, True, True]


def test_a_prompt_out_of_time_ends_the_run_with_a_command_whose_call_hangs(project: Project, model: MockModel) -> None:
    model.faults = {"prompted": ["hang"], "commanded": ["hang"]}
    project.write(
        "ask.py",
        """
        # No client: what takes long to import would not have asked before the prompt's time is up.
        import json, os, urllib.request
        ask = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "commanded"}]}
        head = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"}
        url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
        urllib.request.urlopen(urllib.request.Request(url, json.dumps(ask).encode(), head))
    """,
    )
    project.write(
        "flow.yaml",
        """
        apiVersion: wflo.dev/v1
        kind: Workflow
        name: hangs
        budget: {max_cost_usd: "5.00"}
        steps:
          - {name: command, type: tool, run: [python3, ask.py], depends_on: []}
          - {name: prompt, type: agent, model: m, prompt: prompted, max_tokens: 5, timeout: 6s, depends_on: []}
    """,
    )
    done = project.run("flow.yaml")
    assert (done.code, done.run["error"]["code"]) == (5, "WFLO-3002"), done
    ends = the_books_are_right(done, 2)
    assert all(end.get("uncertain") for end in ends)
    assert project.processes() == []

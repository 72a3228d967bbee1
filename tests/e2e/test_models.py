"""Model calls: through the context and through stock clients, within the budget."""

from decimal import Decimal

from model import MockModel
from project import Project

ASK = '[{"role": "user", "content": "hello"}]'


def test_chat_and_stream_cost_what_the_provider_bills(project: Project) -> None:
    project.steps(f"""
        @workflow.step
        async def talk(context):
            chat = await context.llm.chat(model="m", messages={ASK}, max_tokens=50)
            parts = []
            stream = context.llm.stream(model="claude-m", messages={ASK}, max_tokens=50)
            async for delta in stream:
                parts.append(delta.text)
            return [chat.text, str(chat.cost_usd), chat.usage["output_tokens"], "".join(parts), len(parts) > 1]
    """)
    done = project.run()
    assert done.code == 0, done
    said = done.run["outputs"]["talk"]
    assert said == ["You said: hello", "0.0003", 5, "You said: hello", True], said
    assert Decimal(done.run["cost_usd"]) == Decimal("0.0006")
    assert Decimal(done.run["steps"][0]["cost_usd"]) == Decimal("0.0006")


def test_stock_clients_work_unchanged_without_a_key(project: Project, model: MockModel) -> None:
    project.steps(f"""
        @workflow.step(depends_on=[])
        def stock_openai(context):
            import openai
            client = openai.OpenAI()
            one = client.chat.completions.create(model="m", messages={ASK}, max_tokens=20)
            parts = client.chat.completions.create(model="m", messages={ASK}, max_tokens=20, stream=True)
            return [one.choices[0].message.content, "".join(p.choices[0].delta.content or "" for p in parts)]

        @workflow.step(depends_on=[])
        async def stock_anthropic(context):
            import anthropic
            client = anthropic.AsyncAnthropic()
            one = await client.messages.create(model="claude-m", messages={ASK}, max_tokens=20)
            async with client.messages.stream(model="claude-m", messages={ASK}, max_tokens=20) as stream:
                text = "".join([part async for part in stream.text_stream])
            return [one.content[0].text, text, os.environ.get("ANTHROPIC_API_KEY", "")]
    """)
    done = project.run()
    assert done.code == 0, done
    outputs = done.run["outputs"]
    assert outputs["stock_openai"] == ["You said: hello"] * 2
    assert outputs["stock_anthropic"][:2] == ["You said: hello"] * 2
    # The sandbox holds a placeholder; the provider got the real key.
    assert "the-real-key" not in done.out
    assert {entry["key"] for entry in model.entries} == {"sk-the-real-key"}
    assert Decimal(done.run["cost_usd"]) == Decimal("0.0012")
    assert {e["path"].split("/")[0] for e in done.of("effect.finished", kind="llm")} == {"@gateway"}


def test_a_call_that_does_not_fit_is_not_sent_and_ends_with_4(project: Project, model: MockModel) -> None:
    project.steps(f"""
        workflow.set_budget(max_cost_usd="0.05", alert_thresholds=[0.01])

        @workflow.step
        async def spend(context):
            for n in range(1000):
                await context.llm.chat(model="m", messages={ASK}, max_tokens=100)
    """)
    done = project.run()
    assert done.code == 4, done
    run = done.run
    assert (run["status"], run["error"]["code"]) == ("halted", "WFLO-4001")
    spent = Decimal(run["budget"]["settled_usd"])
    assert spent == Decimal("0.0003") * len(model.entries)
    assert 0 < spent <= Decimal("0.05") and Decimal(run["budget"]["held_usd"]) == 0
    assert [e["threshold"] for e in done.of("budget.alert")] == [10]
    assert len(done.of("budget.exhausted")) == 1


def test_fifty_at_once_in_a_budget_for_three(project: Project, model: MockModel) -> None:
    # A call can cost 0.045 (the whole context window in, 100 tokens out) and is billed 0.044.
    model.input_tokens, model.output_tokens = 4000, 100
    project.steps("""
        @workflow.step
        async def crowd(context):
            ask = lambda n: [{"role": "user", "content": f"call {n}"}]
            calls = (context.llm.chat(model="m", messages=ask(n), max_tokens=100) for n in range(50))
            await asyncio.gather(*calls)
    """)
    done = project.run("--budget", "0.14")
    assert done.code == 4, done
    assert len(model.entries) == 3
    budget = done.run["budget"]
    assert (Decimal(budget["settled_usd"]), Decimal(budget["held_usd"])) == (Decimal("0.132"), 0)


def test_an_unpriced_model_is_refused_by_name(project: Project, model: MockModel) -> None:
    project.steps(f"""
        @workflow.step
        async def unknown(context):
            await context.llm.chat(model="nobody-knows-this", messages={ASK}, max_tokens=5)
    """)
    done = project.run()
    assert done.code == 1, done
    assert done.run["error"]["code"].startswith("WFLO-40"), done.run["error"]
    assert not model.entries

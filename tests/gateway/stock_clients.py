"""The stock openai and anthropic clients, unchanged, against the gateway.

Usage: python stock_clients.py PATH_OF_THE_EXAMPLE_BINARY

The binary is `cargo build -p wflo-gateway --example gateway`. Needs the packages of
`make dev`. Prints a line per case and exits 1 when one failed.
"""

import asyncio
import json
import os
import subprocess
import sys
import traceback

OPENAI = "gpt-5-mini"
ANTHROPIC = "claude-sonnet-4-6"
ASK = [{"role": "user", "content": "hello gateway"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OPENAI_TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
ANTHROPIC_TOOLS = [{"name": "weather", "input_schema": SCHEMA}]


class Gateway:
    def __init__(self, binary, *arguments):
        self.process = subprocess.Popen([binary, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = json.loads(self.process.stdout.readline())

    def __enter__(self):
        # The clients are configured by the injected variables alone, as in a sandbox.
        os.environ.update(self.about["env"])
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)

    def command(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def counts(self):
        self.command("counts")
        return json.loads(self.process.stdout.readline())


def openai_sync(_):
    import openai

    client = openai.OpenAI()
    reply = client.chat.completions.create(model=OPENAI, messages=ASK)
    assert reply.choices[0].message.content == "You said: hello gateway"
    assert reply.usage.total_tokens > 0
    assert OPENAI in [model.id for model in client.models.list().data]
    vectors = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], encoding_format="float")
    assert len(vectors.data) == 2


def openai_stream(_):
    import openai

    client = openai.OpenAI()
    chunks = list(client.chat.completions.create(model=OPENAI, messages=ASK, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "You said: hello gateway", text
    assert all(chunk.usage is None for chunk in chunks)
    asked = list(
        client.chat.completions.create(model=OPENAI, messages=ASK, stream=True, stream_options={"include_usage": True})
    )
    assert asked[-1].usage.completion_tokens > 0


def openai_tools(_):
    import openai

    client = openai.OpenAI()
    messages = list(ASK)
    first = client.chat.completions.create(model=OPENAI, messages=messages, tools=OPENAI_TOOLS)
    call = first.choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    messages.append(first.choices[0].message)
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    last = client.chat.completions.create(model=OPENAI, messages=messages, tools=OPENAI_TOOLS)
    assert last.choices[0].message.content == "You said: sunny"
    pieces = client.chat.completions.create(model=OPENAI, messages=ASK, tools=OPENAI_TOOLS, stream=True)
    arguments = "".join(
        piece.function.arguments or ""
        for chunk in pieces
        for choice in chunk.choices
        for piece in choice.delta.tool_calls or []
    )
    assert json.loads(arguments) == {"city": "Paris"}


def openai_async(_):
    import openai

    async def talk():
        async with openai.AsyncOpenAI() as client:
            ask = lambda: client.chat.completions.create(model=OPENAI, messages=ASK)  # noqa: E731
            replies = await asyncio.gather(*(ask() for _ in range(5)))
            assert len({reply.id for reply in replies}) == 5
            stream = await client.chat.completions.create(model=OPENAI, messages=ASK, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            assert text == "You said: hello gateway"

    asyncio.run(talk())


def openai_retries(gateway):
    import openai

    gateway.command("fault 500")
    before = gateway.counts()
    reply = openai.OpenAI().chat.completions.create(model=OPENAI, messages=[{"role": "user", "content": "retry"}])
    assert reply.choices[0].message.content == "You said: retry"
    after = gateway.counts()
    assert after["requests"] - before["requests"] == 2, (before, after)
    assert after["retries"] - before["retries"] == 1, (before, after)


def openai_cut_stream_raises(gateway):
    import openai

    gateway.command("cut")
    gateway.counts()
    try:
        for _ in openai.OpenAI().chat.completions.create(model=OPENAI, messages=ASK, stream=True):
            pass
    except Exception as error:
        assert "broke off" in str(error) or "closed" in str(error), repr(error)
    else:
        raise AssertionError("a cut stream looked whole")


def anthropic_sync(_):
    import anthropic

    client = anthropic.Anthropic()
    reply = client.messages.create(model=ANTHROPIC, max_tokens=100, messages=ASK)
    assert reply.content[0].text == "You said: hello gateway"
    assert client.messages.count_tokens(model=ANTHROPIC, messages=ASK).input_tokens > 0


def anthropic_stream(_):
    import anthropic

    with anthropic.Anthropic().messages.stream(model=ANTHROPIC, max_tokens=100, messages=ASK) as stream:
        assert "".join(stream.text_stream) == "You said: hello gateway"
        assert stream.get_final_message().usage.output_tokens > 0


def anthropic_tools(_):
    import anthropic

    client = anthropic.Anthropic()
    messages = list(ASK)
    first = client.messages.create(model=ANTHROPIC, max_tokens=100, messages=messages, tools=ANTHROPIC_TOOLS)
    use = first.content[0]
    assert (first.stop_reason, use.input) == ("tool_use", {"city": "Paris"})
    messages.append({"role": "assistant", "content": first.content})
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    messages.append({"role": "user", "content": [result]})
    last = client.messages.create(model=ANTHROPIC, max_tokens=100, messages=messages, tools=ANTHROPIC_TOOLS)
    assert last.content[0].text == "You said: sunny"


def anthropic_async(_):
    import anthropic

    async def talk():
        async with anthropic.AsyncAnthropic() as client:
            ask = lambda: client.messages.create(model=ANTHROPIC, max_tokens=100, messages=ASK)  # noqa: E731
            replies = await asyncio.gather(*(ask() for _ in range(5)))
            assert len({reply.id for reply in replies}) == 5
            async with client.messages.stream(
                model=ANTHROPIC, max_tokens=100, messages=ASK, tools=ANTHROPIC_TOOLS
            ) as stream:
                final = await stream.get_final_message()
                assert final.content[0].input == {"city": "Paris"}

    asyncio.run(talk())


def anthropic_cut_stream_raises(gateway):
    import anthropic

    gateway.command("cut")
    gateway.counts()
    try:
        with anthropic.Anthropic().messages.stream(model=ANTHROPIC, max_tokens=100, messages=ASK) as stream:
            stream.get_final_message()
    except Exception as error:
        assert "broke off" in str(error) or "closed" in str(error), repr(error)
    else:
        raise AssertionError("a cut stream looked whole")


def refusals_stop_every_client_after_one_attempt(gateway):
    import anthropic
    import openai

    async def with_async_clients():
        async with openai.AsyncOpenAI() as one, anthropic.AsyncAnthropic() as two:
            for call in (
                one.chat.completions.create(model=OPENAI, messages=ASK),
                two.messages.create(model=ANTHROPIC, max_tokens=100, messages=ASK),
            ):
                try:
                    await call
                except (openai.APIStatusError, anthropic.APIStatusError) as error:
                    refused.append(error)

    refused = []
    for call in (
        lambda: openai.OpenAI().chat.completions.create(model=OPENAI, messages=ASK),
        lambda: list(openai.OpenAI().chat.completions.create(model=OPENAI, messages=ASK, stream=True)),
        lambda: anthropic.Anthropic().messages.create(model=ANTHROPIC, max_tokens=100, messages=ASK),
    ):
        try:
            call()
        except (openai.APIStatusError, anthropic.APIStatusError) as error:
            refused.append(error)
    asyncio.run(with_async_clients())
    assert len(refused) == 5
    for error in refused:
        assert error.status_code == 402
        assert "the run budget of" in str(error) and "could cost up to" in str(error), str(error)
    assert gateway.counts()["requests"] == 0


CASES = [
    openai_sync,
    openai_stream,
    openai_tools,
    openai_async,
    openai_retries,
    openai_cut_stream_raises,
    anthropic_sync,
    anthropic_stream,
    anthropic_tools,
    anthropic_async,
    anthropic_cut_stream_raises,
]


def run(case, gateway):
    try:
        case(gateway)
    except Exception:
        traceback.print_exc()
        print(f"FAILED {case.__name__}")
        return 1
    print(f"ok {case.__name__}")
    return 0


def main():
    binary = sys.argv[1]
    failed = 0
    with Gateway(binary) as gateway:
        failed += sum(run(case, gateway) for case in CASES)
        counts = gateway.counts()
        print(json.dumps(counts))
        failed += counts["held_usd"] != "0.00"
    with Gateway(binary, "0.000001") as gateway:
        failed += run(refusals_stop_every_client_after_one_attempt, gateway)
    print(f"{len(CASES) + 1} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

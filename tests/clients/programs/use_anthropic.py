"""The anthropic client: messages, sync and async, streamed by its own helper, and count_tokens."""

import anthropic

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"name": "weather", "input_schema": SCHEMA}]


def user(ask):
    return [{"role": "user", "content": ask}]


def results(reply):
    for block in reply.content:
        if block.type == "tool_use":
            assert block.input == {"city": "Paris"}, block.input
            yield {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}


def sync_call(model, ask):
    reply = anthropic.Anthropic().messages.create(model=model, max_tokens=100, messages=user(ask))
    assert reply.usage.output_tokens > 0
    return reply.content[0].text


def sync_tools(model, ask):
    client = anthropic.Anthropic()
    messages = user(ask)
    while True:
        reply = client.messages.create(model=model, max_tokens=100, messages=messages, tools=TOOLS)
        if reply.stop_reason != "tool_use":
            return reply.content[0].text
        messages.append({"role": "assistant", "content": reply.content})
        messages.append({"role": "user", "content": list(results(reply))})


def sync_stream(model, ask):
    with anthropic.Anthropic().messages.stream(model=model, max_tokens=100, messages=user(ask)) as stream:
        text = "".join(stream.text_stream)
        assert stream.get_final_message().usage.output_tokens > 1
    return text


def sync_more(model, ask):
    client = anthropic.Anthropic()
    # The first attempt is told to come again, and the client does.
    assert "busy" in sync_call(model, "are you busy, python?")
    assert client.messages.count_tokens(model=model, messages=user(ask)).input_tokens > 0
    assert client.beta.messages.count_tokens(model=model, messages=user(ask)).input_tokens > 0
    assert model in [found.id for found in client.models.list()]
    return "ok"


async def async_call(model, ask):
    async with anthropic.AsyncAnthropic() as client:
        return (await client.messages.create(model=model, max_tokens=100, messages=user(ask))).content[0].text


async def async_tools(model, ask):
    messages = user(ask)
    async with anthropic.AsyncAnthropic() as client:
        while True:
            async with client.messages.stream(model=model, max_tokens=100, messages=messages, tools=TOOLS) as stream:
                reply = await stream.get_final_message()
            if reply.stop_reason != "tool_use":
                return reply.content[0].text
            messages.append({"role": "assistant", "content": reply.content})
            messages.append({"role": "user", "content": list(results(reply))})


async def async_stream(model, ask):
    async with anthropic.AsyncAnthropic() as client:
        async with client.messages.stream(model=model, max_tokens=100, messages=user(ask)) as stream:
            return "".join([text async for text in stream.text_stream])


def sync_large(model, _):
    ask = "x" * 6_000_000 + "\nlarge"
    client = anthropic.Anthropic()
    whole = client.messages.create(model=model, max_tokens=100, messages=user(ask)).content[0].text
    with client.messages.stream(model=model, max_tokens=100, messages=user(ask)) as stream:
        assert "".join(stream.text_stream) == whole
    return str(len(whole))

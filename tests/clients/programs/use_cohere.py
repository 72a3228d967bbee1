"""The cohere client, version 2 of its interface: chat, tools, streams, embed and rerank."""

import json

import cohere

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]


def user(ask):
    return [{"role": "user", "content": ask}]


def text_of(events):
    return "".join(event.delta.message.content.text for event in events if event.type == "content-delta")


def sync_call(model, ask):
    reply = cohere.ClientV2().chat(model=model, messages=user(ask))
    assert reply.usage.billed_units.output_tokens > 0
    return reply.message.content[0].text


def sync_tools(model, ask):
    client = cohere.ClientV2()
    messages = user(ask)
    while True:
        reply = client.chat(model=model, messages=messages, tools=TOOLS)
        if not reply.message.tool_calls:
            return reply.message.content[0].text
        messages.append(reply.message)
        for call in reply.message.tool_calls:
            assert json.loads(call.function.arguments) == {"city": "Paris"}
            content = [{"type": "document", "document": {"data": json.dumps({"weather": "sunny"})}}]
            messages.append({"role": "tool", "tool_call_id": call.id, "content": content})


def sync_stream(model, ask):
    events = list(cohere.ClientV2().chat_stream(model=model, messages=user(ask)))
    assert events[-1].delta.usage.billed_units.output_tokens > 0
    return text_of(events)


def sync_more(model, ask):
    client = cohere.ClientV2()
    # The first attempt is told to come again, and the client does.
    assert "busy" in sync_call(model, "are you busy, python?")
    assert model in [found.name for found in client.models.list().models]
    embedded = client.embed(
        model="embed-v4.0", texts=["a", "b"], input_type="search_document", embedding_types=["float"]
    )
    assert embedded.embeddings.float_ == [[0.5, -0.25]] * 2
    ranked = client.rerank(model="rerank-v3.5", query=ask, documents=["a", "b"])
    assert [found.index for found in ranked.results] == [0, 1]
    return "ok"


async def async_call(model, ask):
    return (await cohere.AsyncClientV2().chat(model=model, messages=user(ask))).message.content[0].text


async def async_tools(model, ask):
    client = cohere.AsyncClientV2()
    call, arguments = None, ""
    async for event in client.chat_stream(model=model, messages=user(ask), tools=TOOLS):
        if event.type == "tool-call-start":
            call = event.delta.message.tool_calls
        elif event.type == "tool-call-delta":
            arguments += event.delta.message.tool_calls.function.arguments
    assert call and json.loads(arguments) == {"city": "Paris"}, arguments
    made = {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": arguments}}
    answered = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    messages = [*user(ask), {"role": "assistant", "tool_calls": [made]}, answered]
    return (await client.chat(model=model, messages=messages, tools=TOOLS)).message.content[0].text


async def async_stream(model, ask):
    stream = cohere.AsyncClientV2().chat_stream(model=model, messages=user(ask))
    return text_of([event async for event in stream])

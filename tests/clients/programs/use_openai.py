"""The openai client: chat completions and responses, sync and async, embeddings and models.

The async ones stream their tool loops.
"""

import json

import openai

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
RESPONSES_TOOLS = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]


def weather(arguments):
    assert json.loads(arguments) == {"city": "Paris"}, arguments
    return "sunny"


def user(ask):
    return [{"role": "user", "content": ask}]


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def chat_call(model, ask):
    reply = openai.OpenAI().chat.completions.create(model=model, messages=user(ask))
    assert reply.usage.total_tokens > 0
    return reply.choices[0].message.content


def chat_tools(model, ask):
    client = openai.OpenAI()
    messages = user(ask)
    while True:
        message = client.chat.completions.create(model=model, messages=messages, tools=CHAT_TOOLS).choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message)
        for call in message.tool_calls:
            result = weather(call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def chat_stream(model, ask):
    client = openai.OpenAI()
    chunks = list(client.chat.completions.create(model=model, messages=user(ask), stream=True))
    # Not asked for, not given.
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    with client.chat.completions.stream(
        model=model, messages=user(ask), stream_options={"include_usage": True}
    ) as stream:
        assert stream.get_final_completion().usage.completion_tokens > 0
    return text_of(chunks)


def chat_more(model, ask):
    client = openai.OpenAI()
    # The first attempt is told to come again, and the client does.
    assert "busy" in chat_call(model, "are you busy, python?")
    assert model in [found.id for found in client.models.list()]
    vectors = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert [entry.embedding for entry in vectors.data] == [[0.5, -0.25]] * 2
    return "ok"


async def async_chat_call(model, ask):
    async with openai.AsyncOpenAI() as client:
        return (await client.chat.completions.create(model=model, messages=user(ask))).choices[0].message.content


async def async_chat_tools(model, ask):
    messages = user(ask)
    async with openai.AsyncOpenAI() as client:
        while True:
            async with client.chat.completions.stream(model=model, messages=messages, tools=CHAT_TOOLS) as stream:
                message = (await stream.get_final_completion()).choices[0].message
            if not message.tool_calls:
                return message.content
            messages.append(message)
            for call in message.tool_calls:
                result = weather(call.function.arguments)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


async def async_chat_stream(model, ask):
    async with openai.AsyncOpenAI() as client:
        stream = await client.chat.completions.create(model=model, messages=user(ask), stream=True)
        return text_of([chunk async for chunk in stream])


async def async_chat_more(model, ask):
    async with openai.AsyncOpenAI() as client:
        vectors = await client.embeddings.create(model="text-embedding-3-small", input="a", encoding_format="float")
        assert vectors.data[0].embedding == [0.5, -0.25]
    return "ok"


def responses_call(model, ask):
    reply = openai.OpenAI().responses.create(model=model, input=ask)
    assert reply.usage.total_tokens > 0
    return reply.output_text


def responses_tools(model, ask):
    client = openai.OpenAI()
    items = user(ask)
    while True:
        reply = client.responses.create(model=model, input=items, tools=RESPONSES_TOOLS)
        calls = [item for item in reply.output if item.type == "function_call"]
        if not calls:
            return reply.output_text
        items += reply.output
        for call in calls:
            result = weather(call.arguments)
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})


def responses_stream(model, ask):
    with openai.OpenAI().responses.stream(model=model, input=ask) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert final.output_text == text and final.usage.output_tokens > 0
    return text


def responses_more(model, ask):
    assert openai.OpenAI().responses.input_tokens.count(model=model, input=ask).input_tokens > 0
    return "ok"


async def async_responses_call(model, ask):
    async with openai.AsyncOpenAI() as client:
        return (await client.responses.create(model=model, input=user(ask))).output_text


async def async_responses_tools(model, ask):
    items = user(ask)
    async with openai.AsyncOpenAI() as client:
        while True:
            async with client.responses.stream(model=model, input=items, tools=RESPONSES_TOOLS) as stream:
                reply = await stream.get_final_response()
            calls = [item for item in reply.output if item.type == "function_call"]
            if not calls:
                return reply.output_text
            items += [{key: getattr(call, key) for key in ("type", "call_id", "name", "arguments")} for call in calls]
            for call in calls:
                result = weather(call.arguments)
                items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})


async def async_responses_stream(model, ask):
    async with openai.AsyncOpenAI() as client:
        events = await client.responses.create(model=model, input=ask, stream=True)
        return "".join([event.delta async for event in events if event.type == "response.output_text.delta"])


def chat_large(model, _):
    ask = "x" * 6_000_000 + "\nlarge"
    whole = openai.OpenAI().chat.completions.create(model=model, messages=user(ask)).choices[0].message.content
    streamed = text_of(openai.OpenAI().chat.completions.create(model=model, messages=user(ask), stream=True))
    assert whole == streamed
    return str(len(whole))

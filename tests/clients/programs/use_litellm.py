"""litellm as a client library, for each of the four dialects."""

import json

import litellm

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]


def user(ask):
    return [{"role": "user", "content": ask}]


def call(model, ask):
    reply = litellm.completion(model=model, messages=user(ask))
    assert reply.usage.completion_tokens > 0
    return reply.choices[0].message.content


def tools(model, ask):
    messages = user(ask)
    while True:
        message = litellm.completion(model=model, messages=messages, tools=TOOLS).choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message)
        for made in message.tool_calls:
            assert json.loads(made.function.arguments) == {"city": "Paris"}
            messages.append({"role": "tool", "tool_call_id": made.id, "name": "weather", "content": "sunny"})


def stream(model, ask):
    chunks = litellm.completion(model=model, messages=user(ask), stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def under(prefix):
    """The three cases with a model of this provider."""
    return [lambda model, ask, case=case: case(f"{prefix}/{model}", ask) for case in (call, tools, stream)]


openai_call, openai_tools, openai_stream = under("openai")
anthropic_call, anthropic_tools, anthropic_stream = under("anthropic")
google_call, google_tools, google_stream = under("gemini")
cohere_call, cohere_tools, cohere_stream = under("cohere_chat")

"""The google-genai client: generate, automatic function calls, streams, token counts and embeddings."""

from google import genai
from google.genai import types


def weather(city: str) -> str:
    """The weather in a city."""
    assert city == "Paris", city
    return "sunny"


CONFIG = types.GenerateContentConfig(tools=[weather])


def sync_call(model, ask):
    client = genai.Client()
    reply = client.models.generate_content(model=model, contents=ask)
    assert reply.usage_metadata.total_token_count > 0
    return reply.text


def sync_tools(model, ask):
    client = genai.Client()
    return client.models.generate_content(model=model, contents=ask, config=CONFIG).text


def sync_stream(model, ask):
    client = genai.Client()
    chunks = list(client.models.generate_content_stream(model=model, contents=ask))
    assert chunks[-1].usage_metadata.candidates_token_count > 1
    return "".join(chunk.text or "" for chunk in chunks)


def sync_more(model, ask):
    client = genai.Client()
    assert client.models.count_tokens(model=model, contents=ask).total_tokens > 0
    one = client.models.embed_content(model="gemini-embedding-001", contents="a")
    assert [found.values for found in one.embeddings] == [[0.5, -0.25]]
    return "ok"


async def async_call(model, ask):
    client = genai.Client()
    return (await client.aio.models.generate_content(model=model, contents=ask)).text


async def async_tools(model, ask):
    client = genai.Client()
    stream = await client.aio.models.generate_content_stream(model=model, contents=ask, config=CONFIG)
    return "".join([chunk.text or "" async for chunk in stream])


async def async_stream(model, ask):
    client = genai.Client()
    stream = await client.aio.models.generate_content_stream(model=model, contents=ask)
    return "".join([chunk.text or "" async for chunk in stream])

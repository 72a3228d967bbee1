"""Pydantic AI over its models of OpenAI (chat and responses), Anthropic and Google."""

from pydantic_ai import Agent


def weather(city: str) -> str:
    """The weather in a city."""
    assert city == "Paris", city
    return "sunny"


async def call(model, ask):
    return (await Agent(model).run(ask)).output


async def tools(model, ask):
    return (await Agent(model, tools=[weather]).run(ask)).output


async def stream(model, ask):
    async with Agent(model).run_stream(ask) as result:
        return "".join([part async for part in result.stream_text(delta=True)])


def under(prefix):
    """The three cases with a model of this provider."""
    return [lambda model, ask, case=case: case(f"{prefix}:{model}", ask) for case in (call, tools, stream)]


chat_call, chat_tools, chat_stream = under("openai-chat")
responses_call, responses_tools, responses_stream = under("openai-responses")
anthropic_call, anthropic_tools, anthropic_stream = under("anthropic")
google_call, google_tools, google_stream = under("google")

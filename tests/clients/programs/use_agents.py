"""The OpenAI Agents SDK, over responses (its default) and over chat completions."""

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool
from openai import AsyncOpenAI


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    assert city == "Paris", city
    return "sunny"


def chat(model):
    return OpenAIChatCompletionsModel(model=model, openai_client=AsyncOpenAI())


async def run(model, ask, tools):
    return (await Runner.run(Agent(name="assistant", model=model, tools=tools), ask)).final_output


async def streamed(model, ask):
    found = Runner.run_streamed(Agent(name="assistant", model=model), ask)
    text = ""
    async for event in found.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            text += event.data.delta
    assert found.final_output == text
    return text


async def responses_call(model, ask):
    return await run(model, ask, [])


async def responses_tools(model, ask):
    return await run(model, ask, [weather])


async def responses_stream(model, ask):
    return await streamed(model, ask)


async def chat_call(model, ask):
    return await run(chat(model), ask, [])


async def chat_tools(model, ask):
    return await run(chat(model), ask, [weather])


async def chat_stream(model, ask):
    return await streamed(chat(model), ask)

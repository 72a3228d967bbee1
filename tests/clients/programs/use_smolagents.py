"""smolagents' tool-calling agent over its OpenAI model."""

from smolagents import OpenAIModel, ToolCallingAgent, tool


@tool
def weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: Its name.
    """
    assert city == "Paris", city
    return "sunny"


def message(ask):
    return [{"role": "user", "content": [{"type": "text", "text": ask}]}]


def openai_call(model, ask):
    reply = OpenAIModel(model_id=model)(message(ask))
    assert reply.token_usage.output_tokens > 0
    return reply.content


def openai_tools(model, ask):
    agent = ToolCallingAgent(tools=[weather], model=OpenAIModel(model_id=model), max_steps=4)
    return agent.run(ask)


def openai_stream(model, ask):
    deltas = OpenAIModel(model_id=model).generate_stream(message(ask))
    return "".join(delta.content or "" for delta in deltas)

"""LlamaIndex over its OpenAI models: chat completions and responses, and its function agent."""

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI, OpenAIResponses


def weather(city: str) -> str:
    """The weather in a city."""
    assert city == "Paris", city
    return "sunny"


def call(llm, ask):
    return llm.chat([ChatMessage(role="user", content=ask)]).message.content


async def tools(llm, ask):
    return str(await FunctionAgent(tools=[weather], llm=llm, streaming=False).run(ask))


def stream(llm, ask):
    return "".join(part.delta or "" for part in llm.stream_chat([ChatMessage(role="user", content=ask)]))


def over(kind):
    """The three cases with this model class."""
    return [lambda model, ask, case=case: case(kind(model=model), ask) for case in (call, tools, stream)]


chat_call, chat_tools, chat_stream = over(OpenAI)
responses_call, responses_tools, responses_stream = over(OpenAIResponses)

"""LangGraph's prebuilt agent over langchain-openai and langchain-anthropic."""

from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    assert city == "Paris", city
    return "sunny"


def graph(model, tools):
    """The graph of LangGraph's first page: a model, its tools, and back."""
    bound = model.bind_tools(tools) if tools else model
    built = StateGraph(MessagesState)
    built.add_node("model", lambda state: {"messages": [bound.invoke(state["messages"])]})
    built.add_edge(START, "model")
    if tools:
        built.add_node("tools", ToolNode(tools))
        built.add_conditional_edges("model", tools_condition)
        built.add_edge("tools", "model")
    else:
        built.add_edge("model", END)
    return built.compile()


def user(ask):
    return {"messages": [{"role": "user", "content": ask}]}


def call(model, ask):
    return graph(model, []).invoke(user(ask))["messages"][-1].text


def tools(model, ask):
    return graph(model, [weather]).invoke(user(ask))["messages"][-1].text


def stream(model, ask):
    parts = graph(model, []).stream(user(ask), stream_mode="messages")
    return "".join(message.text for message, _ in parts)


def chat(name):
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model=name)


def messages(name):
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model_name=name)


def openai_call(name, ask):
    return call(chat(name), ask)


def openai_tools(name, ask):
    return tools(chat(name), ask)


def openai_stream(name, ask):
    return stream(chat(name), ask)


def anthropic_call(name, ask):
    return call(messages(name), ask)


def anthropic_tools(name, ask):
    return tools(messages(name), ask)


def anthropic_stream(name, ask):
    return stream(messages(name), ask)

"""CrewAI: one agent and one task, over OpenAI and Anthropic."""

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool


@tool("weather")
def weather(city: str) -> str:
    """The weather in a city."""
    assert city == "Paris", city
    return "sunny"


def run(model, ask, tools, stream=False):
    agent = Agent(
        role="assistant", goal="answer", backstory="none", llm=LLM(model=model, stream=stream), tools=tools, max_iter=3
    )
    task = Task(description=ask, expected_output="an answer", agent=agent)
    return Crew(agents=[agent], tasks=[task]).kickoff().raw


def under(prefix):
    """The three cases with a model of this provider."""
    return (
        lambda model, ask: run(f"{prefix}/{model}", ask, []),
        lambda model, ask: run(f"{prefix}/{model}", ask, [weather]),
        lambda model, ask: run(f"{prefix}/{model}", ask, [], stream=True),
    )


openai_call, openai_tools, openai_stream = under("openai")
anthropic_call, anthropic_tools, anthropic_stream = under("anthropic")

"""The clients, and the cases that each goes through."""

from pathlib import Path

from environments import HERE, node, python, versions

PROGRAMS = HERE / "programs"

# What the clients of each interface are asked to call: a model that the budget has room for, one that it has not.
# Both are names that frameworks know, some of which look them up in tables of their own.
MODELS = {
    "chat": ("gpt-4.1-mini", "gpt-4.1"),
    "responses": ("gpt-4.1-mini", "gpt-4.1"),
    "anthropic": ("claude-sonnet-4-5", "claude-opus-4-1"),
    "google": ("gemini-2.5-flash", "gemini-2.5-pro"),
    "cohere": ("command-a-03-2025", "command-r-plus-08-2024"),
}
WORK = ("call", "tools", "stream", "more", "cut")
HALT = ("halt-call", "halt-tools", "halt-stream")


class Client:
    """One way of using one client; the program in `programs/` or `node/` is its user.

    `without` names the cases that it has not, each with why.
    """

    def __init__(
        self, name: str, place: str, program: str, variant: str, api: str, packages: str, **without: str
    ) -> None:
        self.name = name
        self.place = place
        self.program = program
        self.variant = variant
        self.api = api
        self.packages = packages.split()
        self.without = without

    @property
    def id(self) -> str:
        return f"{'node-' if self.place == 'node' else ''}{self.program.removeprefix('use_')}-{self.variant}"

    @property
    def dialect(self) -> str:
        return "openai" if self.api in ("chat", "responses") else self.api

    @property
    def work(self) -> list[str]:
        return [case for case in WORK if case not in self.without]

    @property
    def halt(self) -> list[str]:
        return [case for case in HALT if case.removeprefix("halt-") not in self.without]

    @property
    def versions(self) -> str:
        pinned = versions(self.place)
        return ", ".join(f"{package} {pinned[package]}" for package in self.packages)

    def check(self, case: str, said: str) -> None:
        """That an answer is the one to this case's question."""
        if case == "more":
            assert said == "ok", said
        elif self.program == "use_instructor":  # an object and no text
            assert said == "Paris", said
        elif case == "tools":
            assert "sunny" in said and "hello" not in said, said
        else:
            # CrewAI asks in words of its own.
            assert said.startswith("You said: ") and said.endswith(" ☀ 21 °C"), said
            assert "hello" in said or self.program == "use_crewai", said

    def files(self) -> list[Path]:
        """The program and what drives it."""
        folder, end = (HERE / "node", ".mjs") if self.place == "node" else (PROGRAMS, ".py")
        return [folder / f"drive{end}", folder / f"{self.program}{end}"]

    def command(self) -> list[str]:
        """How the program is started in the folder of its files."""
        models = MODELS[self.api]
        if self.place == "node":
            return [str(node()), "drive.mjs", self.program, self.variant, *models]
        return [str(python(self.place)), "drive.py", self.program, self.variant, *models]


NO_MORE = "no other endpoint"
PLAIN = {"more": NO_MORE}
LITELLM_COHERE = "litellm 1.106 takes each line of Cohere's event stream for JSON, the provider's own as well"

CLIENTS = [
    Client("openai, chat", "sdks", "use_openai", "chat", "chat", "openai"),
    Client("openai, chat, async", "sdks", "use_openai", "async_chat", "chat", "openai"),
    Client("openai, responses", "sdks", "use_openai", "responses", "responses", "openai"),
    Client("openai, responses, async", "sdks", "use_openai", "async_responses", "responses", "openai", **PLAIN),
    Client("anthropic", "sdks", "use_anthropic", "sync", "anthropic", "anthropic"),
    Client("anthropic, async", "sdks", "use_anthropic", "async", "anthropic", "anthropic", **PLAIN),
    Client("google-genai", "sdks", "use_google", "sync", "google", "google-genai"),
    Client("google-genai, async", "sdks", "use_google", "async", "google", "google-genai", **PLAIN),
    Client("cohere", "sdks", "use_cohere", "sync", "cohere", "cohere"),
    Client("cohere, async", "sdks", "use_cohere", "async", "cohere", "cohere", **PLAIN),
    Client("LangGraph, OpenAI", "sdks", "use_langgraph", "openai", "chat", "langgraph langchain-openai", **PLAIN),
    Client(
        "LangGraph, Anthropic", "sdks", "use_langgraph", "anthropic", "anthropic", "langgraph langchain-anthropic",
        **PLAIN,
    ),
    Client("OpenAI Agents SDK, responses", "sdks", "use_agents", "responses", "responses", "openai-agents", **PLAIN),
    Client("OpenAI Agents SDK, chat", "sdks", "use_agents", "chat", "chat", "openai-agents", **PLAIN),
    Client("Pydantic AI, OpenAI chat", "sdks", "use_pydantic_ai", "chat", "chat", "pydantic-ai-slim", **PLAIN),
    Client(
        "Pydantic AI, OpenAI responses", "sdks", "use_pydantic_ai", "responses", "responses", "pydantic-ai-slim", **PLAIN
    ),
    Client("Pydantic AI, Anthropic", "sdks", "use_pydantic_ai", "anthropic", "anthropic", "pydantic-ai-slim", **PLAIN),
    Client("Pydantic AI, Google", "sdks", "use_pydantic_ai", "google", "google", "pydantic-ai-slim", **PLAIN),
    Client("smolagents", "sdks", "use_smolagents", "openai", "chat", "smolagents", **PLAIN),
    Client("litellm, OpenAI", "litellm", "use_litellm", "openai", "chat", "litellm", **PLAIN),
    Client("litellm, Anthropic", "litellm", "use_litellm", "anthropic", "anthropic", "litellm", **PLAIN),
    Client("litellm, Google", "litellm", "use_litellm", "google", "google", "litellm", **PLAIN),
    Client(
        "litellm, Cohere", "litellm", "use_litellm", "cohere", "cohere", "litellm",
        stream=LITELLM_COHERE, cut=LITELLM_COHERE, **PLAIN,
    ),
    Client("LlamaIndex, chat", "litellm", "use_llamaindex", "chat", "chat", "llama-index-llms-openai", **PLAIN),
    Client(
        "LlamaIndex, responses", "litellm", "use_llamaindex", "responses", "responses", "llama-index-llms-openai", **PLAIN
    ),
    Client("DSPy", "litellm", "use_dspy", "openai", "chat", "dspy", **PLAIN),
    Client("instructor", "litellm", "use_instructor", "openai", "chat", "instructor", **PLAIN),
    Client("CrewAI, OpenAI", "crewai", "use_crewai", "openai", "chat", "crewai", **PLAIN),
    Client("CrewAI, Anthropic", "crewai", "use_crewai", "anthropic", "anthropic", "crewai", **PLAIN),
    Client("node openai, chat", "node", "use_openai", "chat", "chat", "openai"),
    Client("node openai, responses", "node", "use_openai", "responses", "responses", "openai", **PLAIN),
    Client("node @anthropic-ai/sdk", "node", "use_anthropic", "messages", "anthropic", "@anthropic-ai/sdk"),
    Client("node @google/genai", "node", "use_google", "models", "google", "@google/genai"),
    Client("node cohere-ai", "node", "use_cohere", "v2", "cohere", "cohere-ai"),
    Client("Vercel AI SDK, responses", "node", "use_ai", "openai", "responses", "ai @ai-sdk/openai", **PLAIN),
    Client("Vercel AI SDK, chat", "node", "use_ai", "chat", "chat", "ai @ai-sdk/openai", **PLAIN),
    Client("Vercel AI SDK, Anthropic", "node", "use_ai", "anthropic", "anthropic", "ai @ai-sdk/anthropic", **PLAIN),
    Client("Vercel AI SDK, Google", "node", "use_ai", "gemini", "google", "ai @ai-sdk/google", **PLAIN),
]  # fmt: skip

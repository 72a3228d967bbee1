"""Model calls: `context.llm`.

Owns the request's form and what the response offers. Prices, budgets and providers are the
engine's; no key is ever in the step.
"""

from __future__ import annotations

from .. import values
from ..errors import effect_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal
    from typing import Any

    from .calls import AsyncCalls, SyncCalls


class ToolCall:
    """A tool that the model wants called: `arguments` as the model wrote them, decoded if JSON."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self, raw: dict[str, Any]) -> None:
        self.id: str = str(raw.get("id") or "")
        self.name: str = str(raw.get("name") or "")
        self.arguments: Any = raw.get("arguments")
        if isinstance(self.arguments, str):
            try:
                self.arguments = values.decode(self.arguments.encode())
            except ValueError:
                pass  # The model wrote something that is not JSON; the step gets to see it.

    def __repr__(self) -> str:
        return f"ToolCall(name={self.name!r}, arguments={self.arguments!r})"


class ChatResponse:
    """A model's answer.

    `usage` counts tokens (`input_tokens`, `output_tokens`, ...), `cost_usd` is what the call cost
    in US dollars, exact, and `raw` is the provider's own response.
    """

    __slots__ = ("_cost", "model", "raw", "text", "tool_calls", "usage")

    def __init__(self, answer: dict[str, Any]) -> None:
        self.text: str = answer.get("text") or ""
        self.tool_calls: list[ToolCall] = [ToolCall(call) for call in answer.get("tool_calls") or ()]
        self.usage: dict[str, Any] = answer.get("usage") or {}
        self.model: str = answer.get("model") or ""
        self.raw: dict[str, Any] = answer.get("raw") or {}
        self._cost = str(answer.get("cost_usd") or "0")

    @property
    def cost_usd(self) -> Decimal:
        """What the call cost, in US dollars."""
        from decimal import Decimal

        return Decimal(self._cost)

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 60 else self.text[:57] + "..."
        return f"ChatResponse(text={text!r}, cost_usd={self._cost!r})"


class Delta:
    """A part of a streamed answer: `text` ("" when the part is a tool call)."""

    __slots__ = ("text", "tool_call")

    def __init__(self, raw: Any) -> None:
        part: dict[str, Any] = raw if isinstance(raw, dict) else {}  # pyright: ignore[reportUnknownVariableType]
        self.text: str = part.get("text") or ""
        self.tool_call: dict[str, Any] | None = part.get("tool_call")

    def __repr__(self) -> str:
        return f"Delta(text={self.text!r})"


def request(
    model: str,
    messages: Sequence[Mapping[str, Any]],
    max_tokens: int | None,
    tools: Sequence[Mapping[str, Any]] | None,
    parameters: dict[str, Any],
) -> dict[str, Any]:
    """The request in wire form; what was left out is absent."""
    wire: dict[str, Any] = {"model": model, "messages": messages, **parameters}
    if max_tokens is not None:
        wire["max_tokens"] = max_tokens
    if tools is not None:
        wire["tools"] = tools
    checked: dict[str, Any] = values.plain(wire, "llm")
    if not isinstance(model, str) or not model:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError('model must be the name of a model, such as model="gpt-5-mini"')
    if not isinstance(checked["messages"], list):
        raise TypeError('messages must be a list, such as messages=[{"role": "user", "content": "Hello"}]')
    return checked


class _Totals:
    """What a stream has at its end, and how far it has got."""

    __slots__ = ("_response", "_seen", "_waiter")

    def __init__(self, waiter: Any) -> None:
        from collections import deque

        self._waiter = waiter
        waiter.chunks = deque()
        self._response: ChatResponse | None = None
        self._seen = False

    def _take(self) -> Delta | None:
        """The next part that is here; `None` at the end."""
        waiter = self._waiter
        if waiter.chunks:
            self._seen = True
            return Delta(waiter.chunks.popleft())
        if waiter.error is not None:
            raise effect_error(waiter.error, waiter.key)
        if self._response is None:
            self._response = ChatResponse(waiter.ok or {})
            if not self._seen and self._response.text:
                # Replayed without its parts: the text comes as one.
                return Delta({"text": self._response.text})
        return None

    @property
    def response(self) -> ChatResponse:
        """The whole answer, once the stream has ended."""
        if self._response is None:
            raise RuntimeError("the stream has not ended; read it to its end first")
        return self._response

    @property
    def text(self) -> str:
        """The whole text."""
        return self.response.text

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tools that the model wants called."""
        return self.response.tool_calls

    @property
    def usage(self) -> dict[str, Any]:
        """Tokens used."""
        return self.response.usage

    @property
    def cost_usd(self) -> Decimal:
        """What the call cost, in US dollars."""
        return self.response.cost_usd

    @property
    def raw(self) -> dict[str, Any]:
        """The provider's own response."""
        return self.response.raw


class ChatStream(_Totals):
    """An async iterator of `Delta`s with the totals at its end."""

    __slots__ = ("_calls",)

    def __init__(self, calls: AsyncCalls, wire: dict[str, Any]) -> None:
        self._calls = calls
        super().__init__(calls.ask("llm", "stream", wire))

    def __aiter__(self) -> ChatStream:
        return self

    async def __anext__(self) -> Delta:
        waiter = self._waiter
        if not waiter.chunks and not waiter.done:
            await self._calls.answer(waiter, chunk=True)
        delta = self._take()
        if delta is None:
            raise StopAsyncIteration
        return delta


class SyncChatStream(_Totals):
    """An iterator of `Delta`s with the totals at its end."""

    __slots__ = ("_calls",)

    def __init__(self, calls: SyncCalls, wire: dict[str, Any]) -> None:
        self._calls = calls
        super().__init__(calls.ask("llm", "stream", wire))

    def __iter__(self) -> SyncChatStream:
        return self

    def __next__(self) -> Delta:
        waiter = self._waiter
        if not waiter.chunks and not waiter.done:
            self._calls.answer(waiter, chunk=True)
        delta = self._take()
        if delta is None:
            raise StopIteration
        return delta


class Llm:
    """`context.llm` of an async step."""

    __slots__ = ("_calls",)

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def chat(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **parameters: Any,
    ) -> ChatResponse:
        """Asks a model. `max_tokens` bounds the answer; further parameters go to the provider.

        Raises `BudgetExceeded` when the call could cost more than is left, `ModelError` when the
        provider refuses it.
        """
        wire = request(model, messages, max_tokens, tools, parameters)
        return ChatResponse(await self._calls.effect("llm", "chat", wire))

    def stream(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **parameters: Any,
    ) -> ChatStream:
        """As `chat`, in parts: `async for delta in context.llm.stream(...)`."""
        return ChatStream(self._calls, request(model, messages, max_tokens, tools, parameters))


class SyncLlm:
    """`context.llm` of a sync step."""

    __slots__ = ("_calls",)

    def __init__(self, calls: SyncCalls) -> None:
        self._calls = calls

    def chat(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **parameters: Any,
    ) -> ChatResponse:
        """As `Llm.chat`."""
        wire = request(model, messages, max_tokens, tools, parameters)
        return ChatResponse(self._calls.effect("llm", "chat", wire))

    def stream(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **parameters: Any,
    ) -> SyncChatStream:
        """As `chat`, in parts: `for delta in context.llm.stream(...)`."""
        return SyncChatStream(self._calls, request(model, messages, max_tokens, tools, parameters))

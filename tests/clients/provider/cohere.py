"""Cohere v2: chat, embed and rerank, as its reference documents them."""

from . import script
from .reply import Reply, Sse, Whole


def chat(body: dict) -> Reply:
    """`POST /v2/chat`."""
    tools = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in body.get("tools") or []}
    said, results = "", []
    for message in body["messages"]:
        if message["role"] == "user":
            said, results = text_of(message["content"]), []
        elif message["role"] == "tool":
            results.append(text_of(message["content"]))
    turn = script.turn(said, tools, results)
    counted = {"input_tokens": script.INPUT, "output_tokens": script.OUTPUT}
    usage = {"billed_units": counted, "tokens": {**counted, "input_tokens": script.INPUT + 500}, "cached_tokens": 0}
    finish = "TOOL_CALL" if turn.tool else "COMPLETE"
    call = {"id": "weather_1", "type": "function", "function": {"name": turn.tool, "arguments": turn.arguments}}
    if not body.get("stream"):
        message: dict = {"role": "assistant"}
        if turn.tool:
            message |= {"tool_plan": "I will look it up.", "tool_calls": [call]}
        else:
            message["content"] = [{"type": "text", "text": turn.text}]
        return Whole({"id": "c1", "finish_reason": finish, "message": message, "usage": usage}, billed())
    begun = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    events: list[dict] = [{"type": "message-start", "id": "c1", "delta": {"message": begun}}]
    if turn.tool:
        events.append({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I will look it up."}}})
        open_call = {**call, "function": {"name": turn.tool, "arguments": ""}}
        events.append({"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": open_call}}})
        for piece in turn.pieces:
            delta = {"message": {"tool_calls": {"function": {"arguments": piece}}}}
            events.append({"type": "tool-call-delta", "index": 0, "delta": delta})
        events.append({"type": "tool-call-end", "index": 0})
    else:
        block = {"type": "text", "text": ""}
        events.append({"type": "content-start", "index": 0, "delta": {"message": {"content": block}}})
        for piece in turn.pieces:
            delta = {"message": {"content": {"text": piece}}}
            events.append({"type": "content-delta", "index": 0, "delta": delta})
        events.append({"type": "content-end", "index": 0})
    events.append({"type": "message-end", "id": "c1", "delta": {"finish_reason": finish, "usage": usage}})
    return Sse([*((event["type"], event) for event in events), (None, "[DONE]")], billed())


def embed(body: dict) -> Reply:
    """`POST /v2/embed`."""
    texts = body.get("texts") or []
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": script.INPUT}}
    value = {"id": "e1", "embeddings": {"float": [[0.5, -0.25] for _ in texts]}, "texts": texts, "meta": meta}
    return Whole({**value, "response_type": "embeddings_by_type"}, {"input": script.INPUT, "output": 0})


def rerank(body: dict) -> Reply:
    """`POST /v2/rerank`, billed by the search."""
    results = [{"index": n, "relevance_score": 0.9 - n / 10} for n in range(len(body["documents"]))]
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    return Whole({"id": "r1", "results": results, "meta": meta}, {"input": 0, "output": 0, "searches": 1})


def billed() -> dict[str, int]:
    return {"input": script.INPUT, "output": script.OUTPUT}


def text_of(content: str | list[dict]) -> str:
    if isinstance(content, str):
        return content
    texts = (block.get("text") or (block.get("document") or {}).get("data") or "" for block in content)
    return " ".join(str(text) for text in texts)

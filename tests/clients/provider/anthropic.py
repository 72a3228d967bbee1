"""Anthropic: messages and count_tokens, as its reference documents them."""

from . import script
from .reply import Reply, Sse, Whole


def messages(body: dict) -> Reply:
    """`POST /v1/messages`."""
    tools = {tool["name"]: tool.get("input_schema") or {} for tool in body.get("tools") or []}
    said, results = "", []
    for message in body["messages"]:
        blocks = blocks_of(message["content"])
        if message["role"] != "user":
            continue
        given = [text_of(block.get("content")) for block in blocks if block["type"] == "tool_result"]
        texts = [block["text"] for block in blocks if block["type"] == "text"]
        # A result belongs to the question before it.
        results = results + given if given else []
        if texts and not given:
            said = " ".join(texts)
    turn = script.turn(said, tools, results)
    usage = {
        "input_tokens": script.INPUT,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": script.OUTPUT,
        "service_tier": "standard",
    }
    block = (
        {"type": "tool_use", "id": "toolu_1", "name": turn.tool, "input": script.loads(turn.arguments)}
        if turn.tool
        else {"type": "text", "text": turn.text}
    )
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": [block],
        "stop_reason": "tool_use" if turn.tool else "end_turn", "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    if not body.get("stream"):
        return Whole(message, billed())
    begun = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    if turn.tool:
        start, kind, key = {**block, "input": {}}, "input_json_delta", "partial_json"
    else:
        start, kind, key = {"type": "text", "text": ""}, "text_delta", "text"
    events: list[dict] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "ping"},
    ]
    pieces = ["", *turn.pieces] if turn.tool else turn.pieces
    events += [{"type": "content_block_delta", "index": 0, "delta": {"type": kind, key: piece}} for piece in pieces]
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events += [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": script.OUTPUT}},
        {"type": "message_stop"},
    ]
    return Sse([(event["type"], event) for event in events], billed())


def count_tokens(_: dict) -> Reply:
    """`POST /v1/messages/count_tokens`, which is free."""
    return Whole({"input_tokens": script.INPUT}, {"input": 0, "output": 0})


def billed() -> dict[str, int]:
    return {"input": script.INPUT, "output": script.OUTPUT}


def blocks_of(content: str | list[dict]) -> list[dict]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def text_of(content: str | list[dict] | None) -> str:
    return " ".join(block.get("text", "") for block in blocks_of(content or ""))

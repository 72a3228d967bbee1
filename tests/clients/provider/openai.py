"""OpenAI: chat completions, responses and embeddings, as its reference documents them."""

from . import script
from .reply import Reply, Sse, Whole


def chat(body: dict) -> Reply:
    """`POST /v1/chat/completions`."""
    messages = body["messages"]
    tools = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in body.get("tools") or []}
    after = messages[last_user(messages) :]
    results = [text_of(message["content"]) for message in after if message["role"] == "tool"]
    said = last_said(messages)
    if said.startswith("Observation:"):  # smolagents tells a tool's result as the user
        results.append(said.removeprefix("Observation:").strip())
    turn = script.turn(said, tools, results)
    usage = {
        "prompt_tokens": script.INPUT,
        "completion_tokens": script.OUTPUT,
        "total_tokens": script.INPUT + script.OUTPUT,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    head = {"id": "chatcmpl-C1", "object": "chat.completion", "created": 1790000000, "model": body["model"]}
    tail = {"service_tier": "default", "system_fingerprint": "fp_1"}
    calls = [{"id": "call_1", "type": "function", "function": {"name": turn.tool, "arguments": turn.arguments}}]
    finish = "tool_calls" if turn.tool else "stop"
    if not body.get("stream"):
        message = {"role": "assistant", "content": None if turn.tool else turn.text, "refusal": None, "annotations": []}
        if turn.tool:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return Whole({**head, "choices": [choice], "usage": usage, **tail}, billed())
    asked = bool((body.get("stream_options") or {}).get("include_usage"))
    head["object"] = "chat.completion.chunk"
    extra = {"usage": None} if asked else {}
    if turn.tool:
        begun = {"index": 0, **calls[0], "function": {"name": turn.tool, "arguments": ""}}
        deltas: list[dict] = [{"role": "assistant", "content": None, "refusal": None, "tool_calls": [begun]}]
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in turn.pieces]
    else:
        deltas = [{"role": "assistant", "content": "", "refusal": None}]
        deltas += [{"content": piece} for piece in turn.pieces]
    events = [(delta, None) for delta in deltas] + [({}, finish)]
    chunks = [
        {
            **head, **tail,
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}],
            **extra, "obfuscation": "aB3",
        }
        for delta, end in events
    ]  # fmt: skip
    if asked:
        chunks.append({**head, **tail, "choices": [], "usage": usage, "obfuscation": "x"})
    return Sse([*((None, chunk) for chunk in chunks), (None, "[DONE]")], billed())


def responses(body: dict) -> Reply:
    """`POST /v1/responses`."""
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    tools = {tool["name"]: tool.get("parameters") or {} for tool in body.get("tools") or []}
    outputs = [item for item in items[last_user(items) :] if item.get("type") == "function_call_output"]
    results = [text_of(item["output"]) for item in outputs]
    turn = script.turn(last_said(items), tools, results)
    usage = {
        "input_tokens": script.INPUT,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": script.OUTPUT,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": script.INPUT + script.OUTPUT,
    }
    if turn.tool:
        item = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1"}
        item |= {"name": turn.tool, "arguments": turn.arguments}
    else:
        part = {"type": "output_text", "text": turn.text, "annotations": [], "logprobs": []}
        item = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    response = {
        "id": "resp_1", "object": "response", "created_at": 1790000000, "status": "completed", "background": False,
        "error": None, "incomplete_details": None, "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"), "max_tool_calls": None, "model": body["model"],
        "output": [item], "parallel_tool_calls": True, "previous_response_id": None, "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None}, "safety_identifier": None, "service_tier": "default",
        "store": True, "temperature": 1.0, "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto", "tools": body.get("tools") or [], "top_logprobs": 0, "top_p": 1.0,
        "truncation": "disabled", "usage": usage, "user": None, "metadata": {},
    }  # fmt: skip
    if not body.get("stream"):
        return Whole(response, billed())
    begun = {**response, "status": "in_progress", "output": [], "usage": None, "service_tier": "auto"}
    at = {"output_index": 0, "item_id": item["id"]}
    events: list[dict] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    if turn.tool:
        open_item = {**item, "status": "in_progress", "arguments": ""}
        events.append({"type": "response.output_item.added", "output_index": 0, "item": open_item})
        kind = "response.function_call_arguments"
        events += [{"type": f"{kind}.delta", **at, "delta": piece, "obfuscation": "q"} for piece in turn.pieces]
        events.append({"type": f"{kind}.done", **at, "arguments": turn.arguments})
    else:
        open_item = {**item, "status": "in_progress", "content": []}
        events.append({"type": "response.output_item.added", "output_index": 0, "item": open_item})
        at["content_index"] = 0
        events.append({"type": "response.content_part.added", **at, "part": {**part, "text": ""}})
        kind = "response.output_text"
        events += [{"type": f"{kind}.delta", **at, "delta": piece, "logprobs": []} for piece in turn.pieces]
        events.append({"type": f"{kind}.done", **at, "text": turn.text, "logprobs": []})
        events.append({"type": "response.content_part.done", **at, "part": part})
    events.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    events.append({"type": "response.completed", "response": response})
    numbered = [(e["type"], {**e, "sequence_number": n}) for n, e in enumerate(events)]
    return Sse(numbered, billed())


def input_tokens(_: dict) -> Reply:
    """`POST /v1/responses/input_tokens`, which is free."""
    return Whole({"object": "response.input_tokens", "input_tokens": script.INPUT}, {"input": 0, "output": 0})


def embeddings(body: dict) -> Reply:
    """`POST /v1/embeddings`; the stock client asks for base64 unless told otherwise."""
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    # 0.5, -0.25 as little-endian 32-bit floats.
    vector = "AAAAPwAAgL4=" if body.get("encoding_format") == "base64" else [0.5, -0.25]
    data = [{"object": "embedding", "index": n, "embedding": vector} for n in range(len(texts))]
    usage = {"prompt_tokens": script.INPUT, "total_tokens": script.INPUT}
    return Whole(
        {"object": "list", "data": data, "model": body["model"], "usage": usage}, {"input": script.INPUT, "output": 0}
    )


def billed() -> dict[str, int]:
    return {"input": script.INPUT, "output": script.OUTPUT}


def text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(part if isinstance(part, str) else part.get("text") or "" for part in parts)


def last_user(messages: list[dict]) -> int:
    """Where the last message of the user is: what tools said before it belongs to an earlier question."""
    found = [n for n, message in enumerate(messages) if message.get("role") == "user"]
    return found[-1] if found else 0


def last_said(messages: list[dict]) -> str:
    spoken = [message for message in messages if message.get("role") == "user"] or messages[-1:]
    return text_of(spoken[-1].get("content"))

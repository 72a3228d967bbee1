"""Google: generateContent, streamGenerateContent, countTokens and embeddings, as its reference documents them."""

import json

from . import script
from .reply import Reply, Sse, Whole

# The reference writes these names in camel case; the server reads both, and clients send both.
SCHEMAS = ("parameters", "parametersJsonSchema", "parameters_json_schema")


def generate(body: dict, model: str, stream: bool, sse: bool) -> Reply:
    """`POST …/models/M:generateContent` and `:streamGenerateContent`."""
    tools = {
        declared["name"]: next((declared[key] for key in SCHEMAS if key in declared), {})
        for tool in body.get("tools") or []
        for declared in tool.get("functionDeclarations") or tool.get("function_declarations") or []
    }
    said, results = "", []
    for content in body["contents"]:
        if content.get("role", "user") == "model":
            continue
        parts = content["parts"]
        given = [part.get("functionResponse") or part.get("function_response") for part in parts]
        answers = [json.dumps(found.get("response"), ensure_ascii=False) for found in given if found]
        texts = [part["text"] for part in parts if part.get("text")]
        results = results + answers if answers else []
        if texts and not answers:
            said = " ".join(texts)
    turn = script.turn(said, tools, results)
    usage = {
        "promptTokenCount": script.INPUT,
        "candidatesTokenCount": script.OUTPUT,
        "totalTokenCount": script.INPUT + script.OUTPUT,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": script.INPUT}],
    }
    whole = {"functionCall": {"name": turn.tool, "args": script.loads(turn.arguments)}} if turn.tool else None

    def answer(part: dict, last: bool) -> dict:
        candidate: dict = {"content": {"parts": [part], "role": "model"}, "index": 0}
        if last:
            candidate["finishReason"] = "STOP"
        told = usage if last else {**usage, "candidatesTokenCount": 1, "totalTokenCount": script.INPUT + 1}
        return {"candidates": [candidate], "usageMetadata": told, "modelVersion": model, "responseId": "r1"}

    if not stream:
        return Whole(answer(whole or {"text": turn.text}, True), billed())
    parts = [whole] if whole else [{"text": piece} for piece in turn.pieces]
    chunks = [answer(part, n == len(parts) - 1) for n, part in enumerate(parts)]
    if not sse:
        return Whole(chunks, billed())
    return Sse([(None, chunk) for chunk in chunks], billed(), end="\r\n\r\n")


def count_tokens(_: dict) -> Reply:
    """`POST …/models/M:countTokens`, which is free."""
    details = [{"modality": "TEXT", "tokenCount": script.INPUT}]
    return Whole({"totalTokens": script.INPUT, "promptTokensDetails": details}, {"input": 0, "output": 0})


def embed(_: dict) -> Reply:
    """`POST …/models/M:embedContent`."""
    usage = {"promptTokenCount": script.INPUT, "totalTokenCount": script.INPUT}
    return Whole({"embedding": {"values": [0.5, -0.25]}, "usageMetadata": usage}, {"input": script.INPUT, "output": 0})


def batch_embed(body: dict) -> Reply:
    """`POST …/models/M:batchEmbedContents`."""
    vectors = [{"values": [0.5, -0.25]} for _ in body["requests"]]
    usage = {"promptTokenCount": script.INPUT, "totalTokenCount": script.INPUT}
    return Whole({"embeddings": vectors, "usageMetadata": usage}, {"input": script.INPUT, "output": 0})


def billed() -> dict[str, int]:
    return {"input": script.INPUT, "output": script.OUTPUT}

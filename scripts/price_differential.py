"""Prices generated usage objects over every model of the pinned map, with wflo and with LiteLLM.

The map is LiteLLM's, so what it charges is the reference. Run it with a Python that has litellm 1.109.1
(`pip install litellm==1.106.2`, then `pip install --no-deps litellm==1.109.1`) and a built wflo:

    python scripts/price_differential.py --wflo target/debug/wflo [--cases 6] [--seed 1] [--out FILE]

Prints how many usages cost the same, and the differences by model; ends with 1 when one of them has no
known reason. With --fixture it writes a sample of the cases for `tests/gateway/prices.rs`.
"""

import argparse
import collections
import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LITELLM_LOG"] = "CRITICAL"

MAP = Path(__file__).parent.parent / "crates/wflo-gateway/prices/model_prices.json"

NANO = Decimal(10) ** -9

Usage = dict[str, Any]


def provider_of(entry: Usage) -> str:
    """Who LiteLLM is told serves an entry."""
    provider = str(entry.get("litellm_provider") or "")
    for family in ("vertex_ai", "fireworks_ai"):
        if provider.startswith(family):
            return family
    return {"bedrock_converse": "bedrock"}.get(provider, provider)


# A moment at which no provider asks for less.
PEAK = datetime(2026, 11, 24, 8, 30, tzinfo=UTC)


def dialect_of(provider: str, name: str) -> str:
    if provider == "anthropic":
        return "anthropic"
    if provider == "gemini" or (provider == "vertex_ai" and "gemini" in name):
        return "google"
    if provider in ("cohere", "cohere_chat"):
        return "cohere"
    return "openai"


def share(random_: random.Random, total: int) -> int:
    return random_.choice([0, 0, random_.randint(0, total), total // 3])


def openai_usage(r: random.Random) -> Usage:
    prompt = r.choice([17, 1_000, 31_999, 128_001, 200_000, 200_001, 272_001, 600_000, r.randint(1, 900_000)])
    completion = r.choice([0, 7, 512, r.randint(1, 60_000)])
    cached = share(r, prompt)
    written = share(r, prompt - cached)
    audio = share(r, prompt - cached - written) if r.random() < 0.3 else 0
    image = share(r, prompt - cached - written - audio) if r.random() < 0.3 else 0
    reasoning = share(r, completion)
    audio_out = share(r, completion - reasoning) if r.random() < 0.2 else 0
    if r.random() < 0.4:
        usage: Usage = {
            "input_tokens": prompt,
            "output_tokens": completion,
            "total_tokens": prompt + completion,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens_details": {"reasoning_tokens": reasoning},
        }
        if written:
            usage["input_tokens_details"]["cache_write_tokens"] = written
        return usage
    details = {"cached_tokens": cached, "audio_tokens": audio, "image_tokens": image}
    if written:
        details["cache_write_tokens"] = written
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {key: value for key, value in details.items() if value or key == "cached_tokens"},
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": audio_out},
    }


def anthropic_usage(r: random.Random) -> Usage:
    short, long = r.choice([0, 0, 4_000]), r.choice([0, 0, 9_000])
    usage: Usage = {
        "input_tokens": r.choice([3, 1_500, 199_999, 201_000, r.randint(1, 400_000)]),
        "output_tokens": r.choice([0, 64, r.randint(1, 30_000)]),
        "cache_read_input_tokens": r.choice([0, 12_000, r.randint(0, 200_000)]),
        "cache_creation_input_tokens": short + long,
        "service_tier": r.choice(["standard", "standard", "priority"]),
    }
    if short or long:
        usage["cache_creation"] = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    if r.random() < 0.3:
        usage["server_tool_use"] = {"web_search_requests": r.randint(0, 5)}
    if r.random() < 0.3:
        usage["inference_geo"] = r.choice(["us", "global"])
    if r.random() < 0.2:
        usage["speed"] = "fast"
    return usage


def google_usage(r: random.Random) -> Usage:
    text, audio, image, video = (
        r.choice([8, 2_000, 250_000]),
        r.choice([0, 0, 900]),
        r.choice([0, 258]),
        r.choice([0, 0, 5_000]),
    )
    prompt = text + audio + image + video
    candidates, thoughts = r.choice([1, 800, 20_000]), r.choice([0, 0, 3_000])
    tools = r.choice([0, 0, 0, 120])
    usage: Usage = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": candidates,
        "totalTokenCount": prompt + candidates + thoughts + tools,
        "promptTokensDetails": [
            {"modality": kind, "tokenCount": count}
            for kind, count in (("TEXT", text), ("AUDIO", audio), ("IMAGE", image), ("VIDEO", video))
            if count
        ],
        "trafficType": r.choice(["ON_DEMAND", "ON_DEMAND", "ON_DEMAND_PRIORITY", "FLEX"]),
    }
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    if tools:
        usage["toolUsePromptTokenCount"] = tools
    if r.random() < 0.4:
        cached_text, cached_audio = text // 2, audio // 3
        usage["cachedContentTokenCount"] = cached_text + cached_audio
        usage["cacheTokensDetails"] = [
            {"modality": "TEXT", "tokenCount": cached_text},
            {"modality": "AUDIO", "tokenCount": cached_audio},
        ]
    if r.random() < 0.2:
        usage["candidatesTokensDetails"] = [
            {"modality": "TEXT", "tokenCount": candidates - candidates // 2},
            {"modality": "IMAGE", "tokenCount": candidates // 2},
        ]
    return usage


def cohere_usage(r: random.Random) -> Usage:
    units = {"input_tokens": r.randint(1, 90_000), "output_tokens": r.randint(0, 4_000)}
    return {"billed_units": units, "tokens": units}


def usage_of(r: random.Random, kind: str, dialect: str) -> Usage:
    if kind == "rerank":
        return {"billed_units": {"search_units": r.randint(1, 40)}}
    if kind == "embedding":
        tokens = r.choice([1, 8_000, r.randint(1, 200_000)])
        if dialect == "google":
            return {"promptTokenCount": tokens, "totalTokenCount": tokens}
        if dialect == "cohere":
            return {"billed_units": {"input_tokens": tokens}}
        return {"prompt_tokens": tokens, "total_tokens": tokens}
    if kind == "transcription":
        return {"type": "duration", "seconds": r.choice([1, 61, 3_600, r.randint(1, 9_000)])}
    makers = {"openai": openai_usage, "anthropic": anthropic_usage, "google": google_usage, "cohere": cohere_usage}
    return makers[dialect](r)


KINDS = {
    "chat": "chat",
    "completion": "chat",
    "responses": "chat",
    "embedding": "embedding",
    "rerank": "rerank",
    "audio_transcription": "transcription",
    "moderation": "chat",
    "realtime": "chat",
}


def litellm_cost(case: Usage, kind: str) -> float:
    import litellm
    from litellm.cost_calculator import batch_cost_calculator, cost_per_token
    from litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini import VertexGeminiConfig
    from litellm.responses.utils import ResponseAPILoggingUtils

    usage, provider, model = case["usage"], case["provider"], case["model"]
    tier = case["service_tier"]
    call = {"model": model, "custom_llm_provider": provider}
    if kind == "rerank":
        return sum(cost_per_token(**call, call_type="rerank", rerank_billed_units=usage["billed_units"]))
    if kind == "transcription":
        seconds = usage["seconds"]
        return sum(cost_per_token(**call, call_type="transcription", audio_transcription_file_duration=seconds))
    match case["dialect"]:
        case "anthropic":
            read = litellm.AnthropicConfig().calculate_usage(usage_object=usage, reasoning_content=None)
        case "google":
            read = VertexGeminiConfig._calculate_usage({"usageMetadata": usage})
        case "cohere":
            units = usage["billed_units"]
            read = litellm.Usage(
                prompt_tokens=units.get("input_tokens", 0),
                completion_tokens=units.get("output_tokens", 0),
                total_tokens=sum(units.values()),
            )
        case _ if "input_tokens" in usage:
            read = ResponseAPILoggingUtils.transform_response_api_usage_to_chat_usage(usage)
        case _:
            read = litellm.Usage(**usage)
    if tier == "batch":
        return sum(batch_cost_calculator(usage=read, **call))
    if kind == "embedding":
        answer = litellm.EmbeddingResponse(model=model, usage=read)
        call_type = "embedding"
    else:
        answer = litellm.ModelResponse(model=model)
        answer.usage = read  # pyright: ignore[reportAttributeAccessIssue]
        call_type = "completion"
    if case["dialect"] == "google" and "trafficType" in usage:
        answer._hidden_params["provider_specific_fields"] = {"traffic_type": usage["trafficType"]}
    return litellm.completion_cost(
        **call,
        completion_response=answer,
        call_type=call_type,
        service_tier=tier,
    )


def reason(case: Usage, entry: Usage, theirs: Decimal, ours: Decimal) -> str | None:
    """Why the two differ, where that is known and meant."""
    usage, name = case["usage"], case["model"]
    if "input_cost_per_request" in entry:
        return "LiteLLM leaves out the price per request"
    if name.startswith("together-ai-"):
        return "LiteLLM puts the name of a size class into a size class again"
    if name.startswith("perplexity/perplexity/"):
        return "LiteLLM drops the second of two equal prefixes and prices another model"
    if case["service_tier"] == "batch":
        details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
        stated = entry.get("input_cost_per_token_batches") is not None
        if not stated and entry.get("cache_read_input_token_cost") is None and details.get("cached_tokens"):
            return "LiteLLM's batches read the cache for nothing where no price of it is stated"
        if "tiered_pricing" in entry:
            return "LiteLLM's batches know no tables of tiers"
        if case["provider"] == "perplexity":
            return "Perplexity has no batches"
        if theirs == 0:
            return "LiteLLM's batches do not find the model"
    return None


def main() -> int:
    import litellm.litellm_core_utils.llm_cost_calc.utils as calculator

    calculator.current_billing_time = lambda: PEAK
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("--wflo", required=True)
    arguments.add_argument("--cases", type=int, default=6)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--models", default="", help="only models with this in their name")
    arguments.add_argument("--out", help="where all differences go, as JSON lines")
    arguments.add_argument("--fixture", help="where a sample of the equal cases goes, as JSON lines")
    given = arguments.parse_args()
    prices = json.loads(MAP.read_text())
    r = random.Random(given.seed)
    cases: list[tuple[Usage, str]] = []
    for name, entry in prices.items():
        kind = KINDS.get(str(entry.get("mode")))
        if name == "sample_spec" or kind is None or given.models not in name:
            continue
        provider = provider_of(entry)
        dialect = dialect_of(provider, name)
        for _ in range(given.cases):
            tier = None
            if kind == "chat" and dialect == "openai":
                tier = r.choice([None, None, "flex", "priority", "default", "batch"])
            bare = name.removeprefix(f"{provider}/") if r.random() < 0.3 else name
            call = {
                "key": name,
                "model": bare,
                "dialect": {"rerank": "cohere", "transcription": "openai"}.get(kind, dialect),
                "provider": provider,
                "service_tier": tier,
                "usage": usage_of(r, kind, dialect),
            }
            cases.append((call, kind))
    lines = "\n".join(json.dumps(case) for case, _ in cases)
    ran = subprocess.run(
        [given.wflo, "costs", "price", "--batch", "-", "--json"],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
    )
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    if len(answers) != len(cases):
        print(ran.stderr, file=sys.stderr)
        raise SystemExit(f"{len(answers)} answers to {len(cases)} cases")
    count: collections.Counter[str] = collections.Counter()
    different: list[Usage] = []
    fixture: list[Usage] = []
    for (case, kind), answer in zip(cases, answers, strict=True):
        try:
            theirs = Decimal(repr(float(litellm_cost(case, kind))))
        except Exception as error:
            count["LiteLLM cannot price it, wflo " + ("can" if "total_usd" in answer else "cannot either")] += 1
            if "total_usd" in answer and "GetLLMProvider" not in str(error):
                different.append({"case": case, "litellm": str(error)[:200], "wflo": answer["total_usd"]})
            continue
        if "error" in answer:
            key = "wflo has no price, LiteLLM says 0" if theirs == 0 else "wflo has no price, LiteLLM has"
            count[key] += 1
            if theirs != 0:
                different.append({"case": case, "litellm": str(theirs), "wflo": answer["error"]["message"]})
            continue
        ours = Decimal(answer["total_usd"])
        # Both are rounded: LiteLLM's sum is binary floating point, wflo's is exact and rounded up to a nano-USD.
        up = theirs.quantize(NANO, ROUND_CEILING)
        if abs(ours - up) <= max(NANO, theirs * Decimal("1e-9")):
            count["equal"] += 1
            fixture.append({**case, "total_usd": answer["total_usd"]})
            continue
        why = reason(case, prices[case["key"]], theirs, ours)
        count["different: " + (why or "unexplained")] += 1
        if why is None:
            different.append({"case": case, "litellm": str(theirs), "wflo": str(ours), "lines": answer["dimensions"]})
    for key, number in count.most_common():
        print(f"{number:7}  {key}")
    if given.out:
        Path(given.out).write_text("".join(json.dumps(line) + "\n" for line in different))
    if given.fixture:
        chosen = r.sample(fixture, min(600, len(fixture)))
        Path(given.fixture).write_text("".join(json.dumps(line) + "\n" for line in chosen))
    return 1 if any(key.startswith("different: unexplained") for key in count) else 0


if __name__ == "__main__":
    sys.exit(main())

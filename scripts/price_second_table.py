"""Writes the fixtures of the test that holds the price map against a second open table.

The second table is `data/prices.json` of the Rust crate genai-prices (MIT, see
`crates/wflo-gateway/tests/fixtures/README.md`). Models that both know at the same provider are kept, with
their plain prices per million tokens on the day of the snapshot:

    python scripts/price_second_table.py genai-prices-0.2.1/data/prices.json --wflo target/debug/wflo
"""

import argparse
import json
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent.parent / "crates/wflo-gateway/tests/fixtures"

# The day of the pinned map.
DAY = "2026-11-29"

PROVIDERS = {
    "anthropic": "anthropic",
    "aws": "bedrock",
    "azure": "azure",
    "baseten": "baseten",
    "cerebras": "cerebras",
    "cloudflare": "cloudflare",
    "cohere": "cohere",
    "databricks": "databricks",
    "deepseek": "deepseek",
    "fireworks": "fireworks_ai",
    "github-copilot": "github_copilot",
    "google": "gemini",
    "groq": "groq",
    "minimax": "minimax",
    "mistral": "mistral",
    "moonshotai": "moonshot",
    "novita": "novita",
    "openai": "openai",
    "ovhcloud": "ovhcloud",
    "perplexity": "perplexity",
    "together": "together_ai",
    "voyageai": "voyage",
    "x-ai": "xai",
    "zai": "zai",
}

DIMENSIONS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_long",
    "input_audio_mtok": "audio_input",
    "output_audio_mtok": "audio_output",
}

# Why the two differ at a provider, as far as their own sources and comments tell.
REASONS = {
    "azure": "the map has the price of one region, the second table the global one",
    "baseten": "the two follow different states of the provider's price list",
    "cloudflare": "the map has prices per neuron, the second table the rounded or newer list",
    "databricks": "the map converts units of the provider (DBU), which are rounded",
    "deepseek": "the second table's plain price is an off-peak or a retired one, the map's the peak price",
    "groq": "rounded by one of them",
    "novita": "the two follow different states of the provider's price list",
    "openai": "audio or speech tokens that the two read differently from the provider's list",
    "ovhcloud": "the map converts from EUR at another rate",
    "together_ai": "the two follow different states of the provider's price list",
    "xai": "the two follow different states of the provider's price list",
    "gemini": "the two follow different states of the provider's price list",
    "anthropic": "the two follow different states of the provider's price list",
    "mistral": "the two follow different states of the provider's price list",
}


def in_force(prices: Any) -> dict[str, Any]:
    """The last of a history that has begun and is bound to no hours."""
    if isinstance(prices, dict):
        return prices
    begun = [
        entry
        for entry in prices
        if "start_time" not in entry.get("constraint", {}) and entry.get("constraint", {}).get("start_date", "") <= DAY
    ]
    return (begun or prices)[-1]["prices"]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("table", type=Path)
    arguments.add_argument("--wflo", required=True)
    given = arguments.parse_args()
    listed = subprocess.run([given.wflo, "costs", "models", "--json"], capture_output=True, text=True, check=True)
    ours: dict[tuple[str, str], dict[str, Decimal]] = {}
    for line in listed.stdout.splitlines():
        model = json.loads(line)
        ours[model["provider"], model["model"].lower()] = {
            rate["dimension"]: Decimal(rate["rate_usd"]) * 10**6
            for rate in model["rates"]
            if rate["service_tier"] == "standard" and rate["above_input_tokens"] == 0
        }
    snapshot: list[dict[str, Any]] = []
    differences: list[str] = []
    for provider in json.loads(given.table.read_text()):
        at = PROVIDERS.get(provider["id"])
        for model in provider["models"] if at else []:
            name = model["id"].lower()
            # Such a name is read as another model's with the provider's name before it.
            if name.startswith(f"{at}/"):
                continue
            rates = next((ours[key] for key in ((at, f"{at}/{name}"), (at, name)) if key in ours), None)
            if rates is None:
                continue
            plain = {
                DIMENSIONS[unit]: str(price["base"] if isinstance(price, dict) else price)
                for unit, price in in_force(model["prices"]).items()
                if unit in DIMENSIONS and price is not None
            }
            compared = {dimension: price for dimension, price in plain.items() if dimension in rates}
            if not compared:
                continue
            snapshot.append({"provider": at, "model": model["id"], "usd_per_million": compared})
            for dimension, price in compared.items():
                if Decimal(price) != rates[dimension].quantize(Decimal(10) ** -9):
                    mine = format(rates[dimension].normalize(), "f")
                    differences.append("\t".join([at, model["id"], dimension, price, mine, REASONS[at]]))
    (FIXTURES / "second_table.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in snapshot))
    head = "provider\tmodel\tdimension\tsecond table\twflo\treason\n"
    (FIXTURES / "second_table_differences.tsv").write_text(head + "".join(line + "\n" for line in differences))
    print(f"{len(snapshot)} models, {len(differences)} differing prices")


if __name__ == "__main__":
    main()

"""A client in a step of `wflo run`: the sandbox, the injected variables and the journal are the real ones."""

import json
import os
import shutil
import subprocess
import textwrap
from collections.abc import Iterable
from pathlib import Path

from clients import MODELS, Client
from environments import node_modules, python
from provider import Provider

import wflo as sdk

DEADLINE = 300  # for a hang; not a measure

# USD per million tokens: what the provider below bills, and what makes the dear models fit no budget.
CHEAP, DEAR = ("1.00", "4.00"), ("100000.00", "400000.00")
DIALECTS = ("openai", "anthropic", "google", "cohere")
# Other models that the cases call, with their dialect.
EXTRA = {"text-embedding-3-small": "openai", "gemini-embedding-001": "google", "embed-v4.0": "cohere"}
KEY = "sk-the-providers-own"
# Room for every case but the dear model's, broken streams included, which are charged in full.
BUDGET = "20.00"

WORKFLOW = """
import asyncio, json
from wflo import Workflow

workflow = Workflow("client")


@workflow.step(timeout_seconds=240)
async def client(context):
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*{command!r}, stdin=pipe, stdout=pipe)
    for case in {cases!r}:
        process.stdin.write(case.encode() + b"\\n")
        await process.stdin.drain()
        await context.emit("case", json.loads(await process.stdout.readline()))
"""


def settings(provider: Provider, dialects: Iterable[str] = DIALECTS) -> str:
    """`wflo.toml`'s providers and models."""
    parts = []
    for dialect in dialects:
        base = f"{provider.address}/v1" if dialect == "openai" else provider.address
        at = f'dialect = "{dialect}"\nbase_url = "{base}"\napi_key_env = "UPSTREAM_KEY"\n'
        parts.append(f"[providers.{dialect}-here]\n{at}")
        priced = dict(zip(MODELS["chat" if dialect == "openai" else dialect], (CHEAP, DEAR), strict=True))
        priced |= {model: CHEAP for model, of in EXTRA.items() if of == dialect}
        for model, (read, written) in priced.items():
            rates = f'provider = "{dialect}-here"\ninput = "{read}"\noutput = "{written}"\n'
            parts.append(f'[models."{model}"]\n{rates}context_tokens = 100000\nmax_output_tokens = 4096\n')
    return "\n".join(parts)


class Outcome:
    """What a client said and did: each case's line, and how the run ended."""

    def __init__(self, done: subprocess.CompletedProcess[str], provider: Provider) -> None:
        self.code = done.returncode
        self.events = [json.loads(line) for line in done.stdout.splitlines()]
        self.errors = done.stderr
        self.provider = provider
        self.cases: dict[str, dict] = {e["data"]["case"]: e["data"] for e in self.of("emitted")}
        self.run: dict = next((e["run"] for e in self.of("run.finished")), {})

    def of(self, event: str) -> list[dict]:
        return [e for e in self.events if e.get("type") == event]

    def __repr__(self) -> str:
        said = "\n".join(json.dumps(case) for case in self.cases.values())
        printed = "\n".join(e["message"] for e in self.of("log"))
        return f"exit {self.code}\n{said}\n--- printed\n{printed[-3000:]}\n--- stderr\n{self.errors[-2000:]}"


def run(client: Client, folder: Path, wflo: Path, provider: Provider, cases: list[str]) -> Outcome:
    """`wflo run` of a workflow whose one step puts the client through these cases."""
    for path in client.files():
        shutil.copy(path, folder)
    toml = '[project]\nname = "client"\nworkflow = "workflow.py"\n'
    if client.place == "node":
        # Node looks for packages in the folders above its program.
        toml += f'\n[sandbox]\nro = ["{node_modules()}:/node_modules"]\n'
    (folder / "wflo.toml").write_text(f"{toml}\n{settings(provider, [client.dialect])}")
    workflow = textwrap.dedent(WORKFLOW).format(command=client.command(), cases=cases)
    (folder / "workflow.py").write_text(workflow)
    keep = ("PATH", "HOME", "LANG", "TMPDIR", "USER", "LOGNAME")
    env = {name: os.environ[name] for name in keep if name in os.environ}
    env |= {"WFLO_TRUST": "1", "WFLO_PYTHON": str(python(client.place)), "UPSTREAM_KEY": KEY}
    # The SDK of the Python that runs the tests; the client's own environment has none.
    env["PYTHONPATH"] = str(Path(sdk.__file__).resolve().parents[1])
    done = subprocess.run(
        [wflo, "run", "--json", "--budget", BUDGET],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return Outcome(done, provider)

"""A client in a step of `wflo run`: the sandbox, the injected variables and the journal are the real ones."""

import json
import os
import shutil
import subprocess
import textwrap
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from clients import MODELS, Client
from environments import node_modules, python
from provider import Entry, Provider

import wflo as sdk

DEADLINE = 900  # for a hang; not a measure

# USD per million tokens: what the provider below bills, and what makes the dear models fit no budget.
CHEAP, DEAR = ("1.00", "4.00"), ("100000.00", "400000.00")
SEARCH = "0.002"  # USD for one search of a rerank
DIALECTS = ("openai", "anthropic", "google", "cohere")
# Other models that the cases call, with their dialect.
EXTRA = {"text-embedding-3-small": "openai", "gemini-embedding-001": "google", "embed-v4.0": "cohere"}
KEY = "sk-the-providers-own"
# Room for every case but the dear model's, broken streams included, which are charged in full.
BUDGET = "20.00"

WORKFLOW = """
import json, subprocess
from wflo import Workflow

workflow = Workflow("client")


@workflow.step(timeout_seconds=800)
async def client(context):
    pipe = subprocess.PIPE
    process = subprocess.Popen({command!r}, stdin=pipe, stdout=pipe, text=True)

    async def go(cases):
        for case in cases:
            process.stdin.write(case + "\\n")
            process.stdin.flush()
            told = json.loads(process.stdout.readline())
            print(told)
            # How an error is worded is the client's affair, and may depend on which packet it reads first.
            await context.emit("case", {{**told, "error": told["error"] and "an error, printed above"}})

    await go({work!r})
    await context.approve("go on?")
    await go({halt!r})
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
        if dialect == "cohere":
            rates = f'input = "0"\noutput = "0"\nrates = {{ queries = "{SEARCH}" }}\n'
            parts.append(f'[models."rerank-v3.5"]\nprovider = "cohere-here"\n{rates}context_tokens = 4096\n')
    return "\n".join(parts)


class Outcome:
    """What a client said and did: each case's line, and how the run ended."""

    def __init__(self, provider: Provider, left: subprocess.CompletedProcess[str]) -> None:
        self.provider = provider
        self.left = left
        self.events = events(left)
        self.asked = len(provider.seen())
        self.ended: subprocess.CompletedProcess[str] | None = None

    def end(self, done: subprocess.CompletedProcess[str]) -> None:
        """Takes in how it went on."""
        self.ended = done
        self.events += events(done)

    @property
    def cases(self) -> dict[str, dict]:
        return {e["data"]["case"]: e["data"] for e in self.of("emitted")}

    @property
    def run(self) -> dict:
        return self.of("run.finished")[-1]["run"]

    @property
    def again(self) -> list[Entry]:
        """What was sent when the run was resumed."""
        return self.provider.seen()[self.asked :]

    def of(self, event: str) -> list[dict]:
        return [e for e in self.events if e.get("type") == event]

    def __repr__(self) -> str:
        said = "\n".join(json.dumps(case) for case in self.cases.values())
        printed = "\n".join(e["message"] for e in self.of("log"))
        codes = [done.returncode for done in (self.left, self.ended) if done]
        errors = "".join(done.stderr for done in (self.left, self.ended) if done)
        return f"exit {codes}\n{said}\n--- printed\n{printed[-3000:]}\n--- stderr\n{errors[-2000:]}"


def events(done: subprocess.CompletedProcess[str]) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def run(
    client: Client, folder: Path, wflo: Path, provider: Provider, work: list[str], halt: tuple[str, ...] = ()
) -> Outcome:
    """`wflo run` of a workflow whose one step puts the client through cases, waits for a person, and goes on.

    The wait ends the sandbox. Who goes on begins the step anew, whose calls must all be answered from the
    journal.
    """
    for path in client.files():
        shutil.copy(path, folder)
    toml = '[project]\nname = "client"\nworkflow = "workflow.py"\n'
    if client.place == "node":
        # Node looks for packages in the folders above its program.
        toml += f'\n[sandbox]\nro = ["{node_modules()}:/node_modules"]\n'
    (folder / "wflo.toml").write_text(f"{toml}\n{settings(provider, [client.dialect])}")
    workflow = textwrap.dedent(WORKFLOW).format(command=client.command(), work=work, halt=halt)
    (folder / "workflow.py").write_text(workflow)
    keep = ("PATH", "HOME", "LANG", "TMPDIR", "USER", "LOGNAME")
    env = {name: os.environ[name] for name in keep if name in os.environ}
    env |= {"WFLO_TRUST": "1", "WFLO_PYTHON": str(python(client.place)), "UPSTREAM_KEY": KEY}
    # The SDK of the Python that runs the tests; the client's own environment has none.
    env["PYTHONPATH"] = str(Path(sdk.__file__).resolve().parents[1])

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [wflo, *words, "--json"]
        return subprocess.run(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE
        )

    found = Outcome(provider, call("run", "--no-wait", "--budget", BUDGET))
    if found.left.returncode == 75:
        call("approvals", "show", "latest")
        found.end(call("approvals", "approve", "latest"))
    return found


def billed(entries: Iterable[Entry]) -> Decimal:
    """In USD, of what a provider answered to the end."""
    read, written = (Decimal(rate) / 1_000_000 for rate in CHEAP)
    rates = {"input": read, "output": written, "searches": Decimal(SEARCH)}
    bills = [entry.billed for entry in entries if entry.billed]
    return sum((count * rates[name] for bill in bills for name, count in bill.items()), Decimal(0))

"""A project whose owner has agents run in it, as they are."""

import json
import os
import subprocess
from decimal import Decimal
from pathlib import Path

import sandboxed
from provider import Provider


class Desk:
    """A project, and wflo as its owner calls it."""

    def __init__(self, folder: Path, wflo: Path, provider: Provider, dialect: str, ro: str = "") -> None:
        self.folder, self.wflo, self.provider = folder, wflo, provider
        sandbox = f'[sandbox]\nro = ["{ro}"]\n' if ro else ""
        toml = f'[project]\nname = "reports"\n{sandbox}\n{sandboxed.settings(provider, [dialect])}'
        (folder / "wflo.toml").write_text(toml)
        (folder / "old.md").write_text("of yesterday\n")
        keep = ("PATH", "HOME", "LANG", "TMPDIR", "USER", "LOGNAME")
        self.env = {name: os.environ[name] for name in keep if name in os.environ}
        self.env |= {"WFLO_TRUST": "1", "UPSTREAM_KEY": sandboxed.KEY}

    def call(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [self.wflo, *words],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=sandboxed.DEADLINE,
        )
        assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(self, *command: object) -> dict:
        """Runs an agent as it is; what wflo says of the run."""
        lines = self.call("run", "--json", "--budget", "2", "--", *map(str, command)).splitlines()
        return json.loads(lines[-1])["run"]

    def calls(self, run: dict) -> list[dict]:
        """The attributes of its model calls in the trace, which holds no key."""
        told = self.call("runs", "trace", run["id"], "--json")
        assert sandboxed.KEY not in told
        spans = map(json.loads, told.splitlines())
        return [span["attributes"] for span in spans if span["kind"] == "effect"]

    def files(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if ".wflo" not in path.parts}

    def billed(self) -> Decimal:
        read, written = (Decimal(rate) / 1_000_000 for rate in sandboxed.CHEAP)
        bills = [entry.billed for entry in self.provider.seen() if entry.billed]
        return sum((bill["input"] * read + bill["output"] * written for bill in bills), Decimal(0))

"""A client before the standalone gateway: pointed at its one address by the variables that each SDK reads.

Between the two is a wire that reads what the client sends (`relay`).
"""

import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

from clients import Client
from environments import node_modules
from provider import Provider
from relay import Relay, Request
from sandboxed import KEY, settings

# Every client's cases fit in, broken streams in full; the dear models' calls do not.
BUDGET = "200.00"
KEY_BUDGET = "20.00"
# What frameworks send to their makers is tried in sandboxes (`test_phone_home`), where it can go nowhere.
QUIET = {
    "OTEL_SDK_DISABLED": "true",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LANGSMITH_TRACING": "false",
    "DO_NOT_TRACK": "1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
}


class Gateway:
    """`wflo gateway` in a folder of its own; `with Gateway(…) as gateway:`."""

    def __init__(self, wflo: Path, folder: Path, provider: Provider, more: str = "") -> None:
        self.folder = folder
        self.wflo = wflo
        budget = f'[budget]\nmax_cost_usd = "{BUDGET}"\naction_on_exceeded = "halt"\n'
        (folder / "wflo.toml").write_text(f'[project]\nname = "clients"\n\n{budget}\n{settings(provider)}\n{more}')
        keep = ("PATH", "HOME", "LANG", "TMPDIR", "USER", "LOGNAME")
        self.env = {name: os.environ[name] for name in keep if name in os.environ}
        self.env |= {"WFLO_TRUST": "1", "UPSTREAM_KEY": KEY}
        self.told: list[str] = []
        self.ready = threading.Event()

    def __enter__(self) -> "Gateway":
        self.process = subprocess.Popen(
            [self.wflo, "gateway", "--listen", "127.0.0.1:0"],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        assert self.ready.wait(60) and hasattr(self, "address"), "".join(self.told)
        return self

    def read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.told.append(line)
            if not self.ready.is_set() and (found := re.search(r"(127\.0\.0\.1):(\d+)", line)):
                self.address = (found[1], int(found[2]))
                self.ready.set()
        self.ready.set()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def key(self, name: str) -> str:
        """A virtual key of this name, with a budget of its own."""
        command = [self.wflo, "keys", "create", "--name", name, "--budget", KEY_BUDGET, "--json"]
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["key"]

    def stop(self) -> int:
        """Ends it as a service manager does: calls under way end first. Its exit code."""
        self.process.terminate()
        code = self.process.wait(120)
        self.reader.join(60)
        return code

    def report(self) -> dict:
        """What its calls have cost in all, once it has ended."""
        command = [self.wflo, "costs", "report", "--json"]
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])


class Outcome:
    """What a client said, and what it sent, case by case."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.cases: dict[str, dict] = {}
        self.sent: dict[str, list[Request]] = {}
        self.printed = ""

    @property
    def requests(self) -> list[Request]:
        return [request for sent in self.sent.values() for request in sent]

    def __repr__(self) -> str:
        said = "\n".join(json.dumps(case) for case in self.cases.values())
        return f"{said}\n--- sent\n{self.sent}\n--- printed\n{self.printed[-3000:]}"


def variables(port: int, key: str) -> dict[str, str]:
    """One address for everything, as each SDK wants it written."""
    base = f"http://127.0.0.1:{port}"
    addresses = {
        "OPENAI_BASE_URL": f"{base}/v1",
        "OPENAI_API_BASE": f"{base}/v1",
        "ANTHROPIC_BASE_URL": base,
        "ANTHROPIC_API_BASE": base,
        "GOOGLE_GEMINI_BASE_URL": base,
        "GEMINI_API_BASE": f"{base}/v1beta",
        "CO_API_URL": base,
        "COHERE_API_BASE": f"{base}/v2/chat",
    }
    names = ("OPENAI", "ANTHROPIC", "GEMINI", "GOOGLE", "CO", "COHERE")
    return addresses | {f"{name}_API_KEY": key for name in names}


def run(client: Client, folder: Path, gateway: Gateway, cases: list[str], key: str) -> Outcome:
    """The client's program, given one case after the other."""
    for path in client.files():
        shutil.copy(path, folder)
    if client.place == "node":
        (folder / "node_modules").symlink_to(node_modules())
    outcome = Outcome(key)
    keep = ("PATH", "LANG", "TMPDIR")
    env = {name: os.environ[name] for name in keep if name in os.environ}
    printed = folder / "printed.txt"
    with Relay(gateway.address) as relay, printed.open("w") as file:
        process = subprocess.Popen(
            client.command(),
            cwd=folder,
            env={**env, "HOME": str(folder), **QUIET, **variables(relay.port, key)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
        with process:
            assert process.stdin and process.stdout
            # A hang ends with the line that never comes.
            limit = threading.Timer(800, process.kill)
            limit.start()
            try:
                for case in cases:
                    before = len(relay.requests)
                    process.stdin.write(f"{case}\n")
                    process.stdin.flush()
                    line = process.stdout.readline()
                    outcome.cases[case] = json.loads(line or '{"error": "the program ended", "said": null}')
                    outcome.sent[case] = relay.requests[before:]
            except BrokenPipeError:
                pass
            finally:
                limit.cancel()
                process.kill()
    outcome.printed = printed.read_text()
    return outcome

"""Claude Code and Codex, as their makers publish them: they find the gateway, work in the sandbox, and their files wait."""

import os
import platform
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from clients import MODELS
from desk import Desk
from environments import node, node_modules
from provider import Provider

ACTS = "echo made > made.md && rm old.md && echo said $(id -u) && env"


def claude() -> tuple[Path, list[str]]:
    """Its program for this machine, which its package would put in place by a script; without a person."""
    machine = "arm64" if platform.machine() == "aarch64" else "x64"
    program = node_modules("coding") / f"@anthropic-ai/claude-code-linux-{machine}" / "claude"
    return program, ["-p", "--model", MODELS["anthropic"][0], "--allowedTools", "Bash", "--", f"run: {ACTS}"]


def codex() -> tuple[Path, list[str]]:
    """What its package installs: a script of Node, which finds its program among the packages beside it."""
    model = MODELS["responses"][0]
    return node_modules("coding") / ".bin" / "codex", ["exec", "--skip-git-repo-check", "-m", model, f"run: {ACTS}"]


KINDS: dict[str, tuple[Callable[[], tuple[Path, list[str]]], str]] = {
    "claude": (claude, "anthropic"),
    "codex": (codex, "openai"),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_it_works_in_the_sandbox_and_pays_by_the_gateway(
    kind: str, tmp_path: Path, wflo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Codex's script is run by the Node of the search path.
    monkeypatch.setenv("PATH", f"{node('coding').parent}{os.pathsep}{os.environ['PATH']}")
    (program, words), dialect = KINDS[kind][0](), KINDS[kind][1]
    with Provider() as provider:
        desk = Desk(tmp_path, wflo, provider, dialect)
        before = desk.files()
        run = desk.run(program, *words)
        assert Decimal(run["cost_usd"]) == desk.billed() > 0
        calls = desk.calls(run)
        assert len(calls) == len(provider.seen()) >= 2
        assert all(call["gen_ai.usage.output_tokens"] > 0 for call in calls)
        # What the shell printed came back to the model: another user's, and nobody's keys.
        told = [entry.raw.decode() for entry in provider.seen()]
        assert any("said 1000" in one and "wflo-placeholder-key" in one for one in told), told[-1]
        assert not any(desk.env["UPSTREAM_KEY"] in one for one in told)

        assert desk.files() == before, "nothing is written before it is applied"
        desk.call("apply", run["id"])
        assert desk.files() == before - {"old.md"} | {"made.md"}

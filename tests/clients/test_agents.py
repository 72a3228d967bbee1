"""Agents that know nothing of wflo, run as they are: their calls, their cost, their files before anything is applied."""

import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from clients import MODELS
from desk import Desk
from environments import node, node_modules, python
from provider import Provider

AGENTS = Path(__file__).resolve().parent / "agents"
# The agent, the program that runs it, its dialect and that one's model.
KINDS = {
    "report.py": (lambda: python("sdks"), "openai", MODELS["chat"][0]),
    "report.mjs": (node, "anthropic", MODELS["anthropic"][0]),
    "report.sh": (lambda: Path("/bin/sh"), "openai", MODELS["chat"][0]),
}


def at_work(agent: str, folder: Path, wflo: Path, provider: Provider) -> tuple[Desk, list[object]]:
    """A desk with the agent on it, and how it is called."""
    program, dialect, model = KINDS[agent]
    # Node looks for packages in the folders above its program.
    ro = f"{node_modules()}:/node_modules" if agent.endswith(".mjs") else ""
    shutil.copy(AGENTS / agent, folder)
    return Desk(folder, wflo, provider, dialect, ro), [program(), agent, model]


@pytest.mark.parametrize("agent", KINDS)
def test_an_agent_is_recorded_billed_and_its_files_wait_for_their_owner(agent: str, tmp_path: Path, wflo: Path) -> None:
    with Provider() as provider:
        desk, command = at_work(agent, tmp_path, wflo, provider)
        before = desk.files()
        run = desk.run(*command)
        assert Decimal(run["cost_usd"]) == desk.billed() > 0
        assert len(provider.seen()) == 2
        assert desk.files() == before, "nothing is written before it is applied"

        calls = desk.calls(run)
        assert [call["gen_ai.request.model"] for call in calls] == [command[-1]] * 2
        assert all(call["gen_ai.usage.output_tokens"] > 0 for call in calls)

        diff = desk.call("diff", run["id"])
        for changed in ("report.md", "seen/Paris.txt", "old.md"):
            assert changed in diff, diff
        desk.call("apply", run["id"])
        assert desk.files() == before - {"old.md"} | {"report.md", "seen", "seen/Paris.txt"}
        assert (tmp_path / "report.md").read_text().startswith("# Report\n\n")


@pytest.mark.parametrize("agent", KINDS)
def test_what_an_agent_did_can_be_thrown_away(agent: str, tmp_path: Path, wflo: Path) -> None:
    with Provider() as provider:
        desk, command = at_work(agent, tmp_path, wflo, provider)
        before = desk.files()
        run = desk.run(*command)
        desk.call("discard", run["id"])
        assert desk.files() == before
        desk.call("apply", run["id"], code=1)
        assert desk.files() == before

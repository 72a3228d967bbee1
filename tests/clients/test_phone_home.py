"""What frameworks send beside the model's calls finds nobody in the sandbox, at once, and harms nothing."""

import json
from pathlib import Path

import pytest
import sandboxed
from clients import PROGRAMS, Client
from provider import Provider

FRAMEWORKS = {
    "agents": ("sdks", "use_agents.py", "api.openai.com"),
    "litellm": ("litellm", "use_litellm.py", "raw.githubusercontent.com"),
    "crewai": ("crewai", "use_crewai.py", "telemetry.crewai.com"),
}


class Unrestrained(Client):
    """A framework with its defaults, and the program that uses it."""

    def files(self) -> list[Path]:
        return [*super().files(), PROGRAMS / FRAMEWORKS[self.variant][1]]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_that_phones_home_is_not_held_up(framework: str, tmp_path: Path, wflo: Path) -> None:
    place, _, host = FRAMEWORKS[framework]
    client = Unrestrained(framework, place, "phone_home", framework, "chat", "")
    with Provider() as provider:
        # A look-up that hung would run into the step's time-out.
        found = sandboxed.run(client, tmp_path, wflo, provider, ["call"])
        assert found.ended and found.ended.returncode == 0, found
        assert found.cases["call"]["error"] is None, found
        assert host in json.loads(found.cases["call"]["said"]), found
        assert len(provider.seen()) == 1

"""Requests of 6 MB and answers of 5 MB pass, whole and streamed."""

from pathlib import Path

import pytest
import sandboxed
from clients import CLIENTS, Client
from provider import Provider

BIG = [pytest.param(c, id=c.id) for c in CLIENTS if c.id in ("openai-chat", "anthropic-sync")]


@pytest.mark.parametrize("talker", BIG)
def test_large_requests_and_answers_pass(talker: Client, tmp_path: Path, wflo: Path) -> None:
    with Provider() as provider:
        found = sandboxed.run(talker, tmp_path, wflo, provider, ["large"])
        assert found.ended and found.ended.returncode == 0, found
        assert found.cases["large"]["said"] == "5000000", found
        assert [len(entry.raw) > 6_000_000 for entry in provider.seen()] == [True, True]

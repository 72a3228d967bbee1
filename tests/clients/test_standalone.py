"""Unchanged clients before the standalone gateway, all at its one address, and what each sends."""

from decimal import Decimal
from pathlib import Path

import pytest
from clients import CLIENTS, HALT, MODELS, Client
from measured import Measured
from provider import Provider
from sandboxed import billed
from standalone import Gateway, Outcome, run

CASES = [pytest.param(client, case, id=f"{client.id}-{case}") for client in CLIENTS for case in client.work]
HALTS = [pytest.param(client, case, id=f"{client.id}-{case}") for client in CLIENTS for case in client.halt]
RUNS = [pytest.param(client, id=client.id) for client in CLIENTS]

CACHE = '[cache]\nbackend = "memory"\n'

# Frameworks that try again whatever the answer says; every other client makes one attempt.
ATTEMPTS = {
    "crewai-openai": 3,
    "crewai-anthropic": 6,  # of which three count tokens, which is free
}


def outcome(measured: Measured, client: Client) -> Outcome:
    return measured.standalone[client].result()


@pytest.mark.parametrize(("client", "case"), CASES)
def test_a_case_ends_as_with_the_provider_itself(measured: Measured, client: Client, case: str) -> None:
    found = outcome(measured, client)
    told = found.cases[case]
    if case == "cut":
        assert told["error"] and told["said"] is None, found
        return
    assert told["error"] is None, found
    client.check(case, told["said"])


@pytest.mark.parametrize(("client", "case"), HALTS)
def test_a_call_that_no_budget_fits_ends_after_one_attempt(measured: Measured, client: Client, case: str) -> None:
    assert case in HALT
    found = outcome(measured, client)
    told = found.cases[case]
    assert told["error"] and told["said"] is None, found
    assert len(found.sent[case]) == ATTEMPTS.get(client.id, 1), found.sent[case]


@pytest.mark.parametrize("client", RUNS)
def test_nothing_of_a_refused_call_reaches_the_provider(measured: Measured, client: Client) -> None:
    outcome(measured, client)
    entries = measured.provider.seen(MODELS[client.api][1])
    assert not [entry for entry in entries if "ount" not in entry.path]
    assert not measured.provider.unknown


@pytest.mark.parametrize(
    "talker",
    [client for client in RUNS if client.id in ("openai-chat", "anthropic-sync", "google-sync", "cohere-sync")],
)
def test_a_wrong_key_is_refused_in_the_clients_own_shape_and_once(
    measured: Measured, talker: Client, tmp_path: Path
) -> None:
    measured.gateway.key(f"of another than {talker.id}")
    found = run(talker, tmp_path, measured.gateway, ["call"], "sk-wflo-of-nobody")
    error = found.cases["call"]["error"]
    assert error and "401" in error and "wflo keys create" in error, found
    assert len(found.requests) == 1, found.requests


def test_the_gateway_charges_what_the_provider_bills(measured: Measured) -> None:
    for future in measured.standalone.values():
        future.result()
    assert measured.gateway.stop() == 0, measured.gateway.told
    assert not [line for line in measured.gateway.told if "upper bound" in line], "billed above its hold"
    total = measured.gateway.report()
    certain = Decimal(total["cost_usd"]) - Decimal(total["uncertain_usd"])
    assert certain == billed(measured.provider.seen())


@pytest.mark.parametrize("talker", [client for client in RUNS if client.id in ("openai-chat", "anthropic-sync")])
def test_a_client_is_given_kept_answers_streamed_or_not_and_sees_no_difference(
    wflo: Path, talker: Client, tmp_path: Path
) -> None:
    (tmp_path / "gateway").mkdir()
    with Provider() as provider, Gateway(wflo, tmp_path / "gateway", provider, CACHE) as gateway:
        key = gateway.key("cached")
        cases = [case for case in ("call", "stream", "tools") if case in talker.work]
        assert {"call", "stream"} <= set(cases)
        said = []
        for turn in ("first", "again"):
            (tmp_path / turn).mkdir()
            found = run(talker, tmp_path / turn, gateway, cases, key)
            assert not [case for case in cases if found.cases[case]["error"]], found
            said.append({case: found.cases[case]["said"] for case in cases})
            if turn == "first":
                asked = len(provider.seen())
        assert said[0] == said[1]
        for case in cases:
            talker.check(case, said[1][case])
        assert len(provider.seen()) == asked, "the provider was asked again"
        assert gateway.stop() == 0
        total = gateway.report()
        assert total["cache_hits"] * 2 == total["calls"] and Decimal(total["saved_usd"]) == Decimal(total["cost_usd"])

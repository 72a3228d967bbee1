"""Unchanged clients in a step of `wflo run`, each against a provider that bills what it answers."""

from decimal import Decimal

import pytest
from clients import CLIENTS, MODELS, WORK, Client
from measured import Measured
from sandboxed import KEY, Outcome, billed

CASES = [pytest.param(client, case, id=f"{client.id}-{case}") for client in CLIENTS for case in client.work]
RUNS = [pytest.param(client, id=client.id) for client in CLIENTS]


def outcome(measured: Measured, client: Client) -> Outcome:
    return measured.sandboxed[client].result()


@pytest.mark.parametrize(("client", "case"), CASES)
def test_a_case_ends_as_with_the_provider_itself(measured: Measured, client: Client, case: str) -> None:
    assert case in WORK
    found = outcome(measured, client)
    told = found.cases.get(case)
    assert told, found
    if case == "cut":
        # A stream that broke off is an error, and not a short answer.
        assert told["error"] and told["said"] is None, found
        return
    assert told["error"] is None, found
    client.check(case, told["said"])


@pytest.mark.parametrize("client", RUNS)
def test_a_call_that_no_budget_fits_halts_the_run_and_is_not_sent(measured: Measured, client: Client) -> None:
    found = outcome(measured, client)
    assert found.ended and found.ended.returncode == 4, found
    assert (found.run["status"], found.run["error"]["code"]) == ("halted", "WFLO-4001"), found
    cheap, dear = MODELS[client.api]
    assert len(found.of("budget.exhausted")) >= 1
    sent = [entry for entry in found.provider.seen(dear) if "count_tokens" not in entry.path]
    assert not sent and found.provider.seen(cheap)


@pytest.mark.parametrize("client", RUNS)
def test_a_resumed_run_pays_for_no_call_again(measured: Measured, client: Client) -> None:
    found = outcome(measured, client)
    assert found.left.returncode == 75 and found.ended, found
    # All that the journal holds is found by its bytes. The call that does not fit may count its tokens, for free.
    paid = [entry for entry in found.again if entry.billed and any(entry.billed.values())]
    assert not paid, found
    assert not found.of("replay.miss"), found


@pytest.mark.parametrize("client", RUNS)
def test_the_run_is_charged_what_the_provider_bills(measured: Measured, client: Client) -> None:
    found = outcome(measured, client)
    effects = [e for e in found.of("effect.finished") if e["kind"] == "llm"]
    certain = sum(Decimal(e["cost_usd"]) for e in effects if not e["uncertain"])
    assert certain == billed(found.provider.seen()), found
    # Only the broken streams are not known to the token.
    broken = [entry for entry in found.provider.seen() if entry.billed is None]
    assert len([e for e in effects if e["uncertain"]]) == len(broken), found
    assert Decimal(found.run["budget"]["held_usd"]) == 0
    assert "upper bound" not in found.left.stderr, "billed above its hold"


@pytest.mark.parametrize("client", RUNS)
def test_the_provider_gets_its_own_key_and_nothing_that_it_does_not_serve(measured: Measured, client: Client) -> None:
    found = outcome(measured, client)
    assert not found.provider.unknown
    for entry in found.provider.seen():
        given = [entry.headers.get(name, "") for name in ("authorization", "x-api-key", "x-goog-api-key")]
        assert [value.removeprefix("Bearer ") for value in given if value] == [KEY], entry.headers
        # Clients accept gzip, br and zstd; compressed usage could not be read.
        assert entry.headers["accept-encoding"] == "identity"
    assert KEY not in repr(found.events)

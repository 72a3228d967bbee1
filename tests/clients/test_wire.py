"""What stock clients do on the wire. The gateway was built for these facts; where a client changes, this says so.

And what the gateway makes of it: a provider gets the client's bytes but for the insertions that
docs/reference/gateway.md lists.
"""

import json
import re

import pytest
from clients import CLIENTS, MODELS, Client
from measured import Measured
from relay import Request

RUNS = [pytest.param(client, id=client.id) for client in CLIENTS]
OF = {api: [pytest.param(c, id=c.id) for c in CLIENTS if c.api == api] for api in MODELS}


def requests(measured: Measured, client: Client) -> list[Request]:
    return measured.standalone[client].result().requests


def bodies(measured: Measured, client: Client) -> list[dict]:
    return [json.loads(request.body) for request in requests(measured, client) if request.body]


@pytest.mark.parametrize("client", OF["anthropic"])
def test_an_anthropic_client_posts_under_v1_but_for_the_ai_sdk(measured: Measured, client: Client) -> None:
    paths = {request.path.split("?")[0] for request in requests(measured, client)}
    wanted = "/messages" if client.id == "node-ai-anthropic" else "/v1/messages"
    assert wanted in paths
    assert all(path.startswith(wanted.removesuffix("/messages")) for path in paths), paths


@pytest.mark.parametrize("client", OF["google"])
def test_a_google_client_says_v1_or_v1beta(measured: Measured, client: Client) -> None:
    versions = {request.path.split("/")[1] for request in requests(measured, client)}
    assert versions == {"v1" if client.program == "use_google" else "v1beta"} or client.program == "use_pydantic_ai"
    assert versions <= {"v1", "v1beta"}


@pytest.mark.parametrize("client", RUNS)
def test_a_client_says_its_key_in_its_own_way(measured: Measured, client: Client) -> None:
    key = measured.standalone[client].result().key
    names = {"authorization": f"Bearer {key}", "x-api-key": key, "x-goog-api-key": key}
    for request in requests(measured, client):
        given = {name for name, value in names.items() if request.headers.get(name) == value}
        assert given, request.headers
        if client.api == "google":
            assert given == {"x-goog-api-key"}
        elif client.api == "anthropic":
            new = client.program in ("use_anthropic", "use_langgraph", "use_pydantic_ai")
            assert given == ({"authorization"} if new else {"x-api-key"}), (client.id, given)
        else:
            assert given == {"authorization"}


@pytest.mark.parametrize("client", OF["chat"])
def test_a_chat_client_says_no_limit(measured: Measured, client: Client) -> None:
    for body in bodies(measured, client):
        assert not {"max_tokens", "max_completion_tokens"} & body.keys(), body


@pytest.mark.parametrize("client", OF["chat"])
def test_a_stream_has_its_usage_asked_for_upstream_and_stripped(measured: Measured, client: Client) -> None:
    asks = client.program in ("use_pydantic_ai", "use_smolagents", "use_crewai") or client.id == "node-ai-chat"
    streams = [body for body in bodies(measured, client) if body.get("stream")]
    assert streams
    # `use_openai` asks once by itself.
    told = {bool((body.get("stream_options") or {}).get("include_usage")) for body in streams}
    assert told == {True} if asks else False in told, (client.id, told)
    for entry in measured.sandboxed[client].result().provider.seen():
        if entry.body.get("stream"):
            assert entry.body["stream_options"] == {"include_usage": True}


# What docs/reference/gateway.md lists under "Changes to a request".
INSERTED = re.compile(
    rb"""(?:
        "stream_options":\{"include_usage":true\},
        | "max_(?:completion_|output_)?tokens":\d+,
        | "generationConfig":\{"maxOutputTokens":\d+\},
        | "maxOutputTokens":\d+,?  # within a `generationConfig`
    )+""",
    re.VERBOSE,
)
IN_PLACE_OF_NULL = re.compile(rb"\d+")


@pytest.mark.parametrize("client", RUNS)
def test_the_provider_gets_the_clients_bytes(measured: Measured, client: Client) -> None:
    given = {entry.raw for entry in measured.provider.seen()}
    for case, sent in measured.standalone[client].result().sent.items():
        if case.startswith("halt-"):
            continue
        for request in sent:
            if request.method == "POST":
                assert any(passed_on(request.body, raw) for raw in given), request


def passed_on(body: bytes, raw: bytes) -> bool:
    """Whether `raw` is `body`, but for one insertion, or one number in the place of a `null`."""
    if raw == body:
        return True
    same = next((n for n, (one, other) in enumerate(zip(body, raw, strict=False)) if one != other), len(body))
    # What is inserted may begin like what stands there, so it may begin earlier than the difference.
    for start in range(max(0, same - 100), same + 1):
        for gone, wanted in ((b"", INSERTED), (b"null", IN_PLACE_OF_NULL)):
            rest = body[start + len(gone) :]
            if not body.startswith(gone, start) or not raw.endswith(rest):
                continue
            if wanted.fullmatch(raw[start : len(raw) - len(rest)]):
                return True
    return False

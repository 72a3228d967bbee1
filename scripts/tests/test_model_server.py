"""The demo's model server: a real model, passed through unchanged, every request counted."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVER = Path(__file__).resolve().parent.parent / "model_server.py"
HELLO = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    process = subprocess.Popen(
        [sys.executable, str(SERVER), "--until-eof"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(timeout=30)


def post(url: str, body: object) -> bytes:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def counts(ready: dict[str, str]) -> dict[str, int]:
    with urllib.request.urlopen(ready["requests_url"], timeout=10) as answer:
        return json.load(answer)


def test_it_answers_chat_messages_and_streams_and_counts_each(server: tuple[object, dict[str, str]]) -> None:
    _, ready = server
    body = {"model": ready["model"], "messages": HELLO, "max_tokens": 4, "temperature": 0}
    before = counts(ready)["finished"]
    chat = json.loads(post(f"{ready['base_url']}/chat/completions", body))
    assert chat["choices"][0]["message"]["content"] and chat["usage"]["completion_tokens"] <= 4
    stream = post(f"{ready['base_url']}/chat/completions", {**body, "stream": True}).decode()
    assert stream.startswith("data: {") and stream.rstrip().endswith("data: [DONE]")
    assert json.loads(post(f"{ready['base_url']}/messages", body))["type"] == "message"
    after = counts(ready)
    assert after["finished"] == after["received"] == before + 3


def test_asking_for_the_models_is_not_a_model_request(server: tuple[object, dict[str, str]]) -> None:
    _, ready = server
    before = counts(ready)["received"]
    with urllib.request.urlopen(f"{ready['base_url']}/models", timeout=10) as answer:
        assert json.load(answer)["data"][0]["id"] == ready["model"]
    assert counts(ready)["received"] == before


def test_it_ends_when_its_input_does(server: tuple[subprocess.Popen[str], dict[str, str]]) -> None:
    process, _ = server
    assert process.stdin
    process.stdin.close()
    assert process.wait(timeout=30) == 0

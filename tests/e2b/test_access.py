"""Who may: keys, tokens, signatures. Nobody without them learns or changes anything."""

import hashlib
import http.client
import os
import shutil
import ssl
import stat
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from served import Box, Served, Wflo


@pytest.fixture
def box(served: Served) -> Iterator[Box]:
    one = served.create()
    yield one
    one.kill()


@pytest.fixture
def other(served: Served) -> Iterator[Box]:
    one = served.create()
    yield one
    one.kill()


CONTROL = [
    ("POST", "/sandboxes"),
    ("POST", "/v2/sandboxes"),
    ("GET", "/sandboxes"),
    ("GET", "/v2/sandboxes"),
    ("GET", "/sandboxes/{}"),
    ("DELETE", "/sandboxes/{}"),
    ("POST", "/sandboxes/{}/timeout"),
    ("POST", "/sandboxes/{}/pause"),
    ("POST", "/v2/sandboxes/{}/connect"),
    ("GET", "/sandboxes/{}/metrics"),
    ("GET", "/anything/else"),
]


@pytest.mark.parametrize(("method", "path"), CONTROL, ids=[f"{method}-{path}" for method, path in CONTROL])
def test_without_a_key_nothing_is_told(served: Served, box: Box, method: str, path: str) -> None:
    path = path.format(box.id)
    wrong = ["", "x", served.key[:-1], served.key + "0", served.key.upper(), box.token]
    for headers in [{}, *({"X-API-KEY": key} for key in wrong), {"Authorization": f"Bearer {box.token}"}]:
        answer = served.ask(method, path, {} if method == "POST" else None, headers, key=None)
        assert answer.status == 401 and "WFLO-5290" in answer.json()["message"], (headers, answer)
        assert box.id not in answer.json()["message"]
    assert served.ask("GET", f"/sandboxes/{box.id}").json()["state"] == "running"


INSIDE = [
    ("POST", "/filesystem.Filesystem/Stat"),
    ("POST", "/filesystem.Filesystem/Remove"),
    ("POST", "/process.Process/List"),
    ("POST", "/process.Process/Start"),
    ("GET", "/files?path=/etc/passwd"),
    ("POST", "/files?path=a"),
    ("POST", "/execute"),
    ("GET", "/contexts"),
    ("POST", "/contexts"),
    ("DELETE", "/contexts/python"),
    ("POST", "/contexts/python/restart"),
]


@pytest.mark.parametrize(("method", "path"), INSIDE, ids=[f"{method}-{path}" for method, path in INSIDE])
def test_another_sandboxs_token_opens_nothing(served: Served, box: Box, other: Box, method: str, path: str) -> None:
    for headers in (
        {},
        {"X-Access-Token": other.token},
        {"E2B-Traffic-Access-Token": other.traffic},
        {"X-Access-Token": other.traffic},
        {"X-Access-Token": box.token[:-1]},
        {"X-API-KEY": served.key},
        {"X-Access-Token": served.key},
    ):
        given = {"E2b-Sandbox-Id": box.id, **headers}
        answer = served.ask(method, path, {"path": "/home/user"} if method == "POST" else None, given, key=None)
        assert answer.status == 401 and b"WFLO-5297" in answer.body, (headers, answer)


def test_the_token_for_code_opens_no_files_and_no_programs(served: Served, box: Box) -> None:
    given = {"E2b-Sandbox-Id": box.id, "E2B-Traffic-Access-Token": box.traffic}
    assert served.ask("GET", "/contexts", None, given, key=None).status == 200
    for path in ("/files?path=/etc/passwd", "/files"):
        assert served.ask("GET", path, None, given, key=None).status == 401
    assert served.ask("POST", "/process.Process/List", {}, given, key=None).status == 401


def signed(path: str, token: str, operation: str = "read", until: int | None = None) -> str:
    raw = f"{path}:{operation}::{token}" + (f":{until}" if until is not None else "")
    signature = "v1_" + b64encode(hashlib.sha256(raw.encode()).digest()).rstrip(b"=").decode()
    query = f"/files?path={quote(path)}&signature={quote(signature, safe='')}"
    return query + (f"&signature_expiration={until}" if until is not None else "")


def test_a_signature_holds_for_one_path_one_operation_and_its_time(served: Served, box: Box, other: Box) -> None:
    box.write("mine", b"mine")
    other.write("mine", b"other")
    assert served.ask("GET", signed("mine", box.token), key=None).body == b"mine"
    assert served.ask("GET", signed("mine", other.token), key=None).body == b"other"
    until = int(time.time()) + 60
    assert served.ask("GET", signed("mine", box.token, until=until), key=None).status == 200
    refused = [
        signed("mine", box.token, until=int(time.time()) - 1),
        signed("mine", box.token, until=until).replace(str(until), str(until + 1)),
        signed("mine", box.token, "write"),
        signed("mine", box.token).replace("path=mine", "path=/etc/passwd"),
        signed("mine", "x" * 64),
        "/files?path=mine&signature=",
        "/files?path=mine",
    ]
    for path in refused:
        assert served.ask("GET", path, key=None).status == 401, path
    # Of another sandbox than the one that is named.
    by_a_hosts_own_name = {"Host": "10-0-0-1.machines.example.org"}
    assert served.ask("GET", signed("mine", box.token), None, by_a_hosts_own_name, key=None).body == b"mine"
    named = {"E2b-Sandbox-Id": other.id}
    assert served.ask("GET", signed("mine", box.token), None, named, key=None).status == 401
    assert served.ask("POST", signed("mine", box.token), b"changed", key=None).status == 401
    assert box.read("mine").body == b"mine"


def test_names_and_tokens_cannot_be_guessed(served: Served, box: Box, other: Box) -> None:
    assert len(box.id) >= 26 and box.id != other.id
    assert len({box.token, box.traffic, other.token, other.traffic}) == 4
    assert all(len(token) == 64 for token in (box.token, box.traffic))
    like_it = box.id[:-1] + ("b" if box.id.endswith("a") else "a")
    assert served.ask("GET", f"/sandboxes/{like_it}").status == 404


def test_a_sandbox_is_known_by_its_hosts_name(served: Served, box: Box) -> None:
    headers = {"Host": f"49983-{box.id}.sandboxes.localhost", "X-Access-Token": box.token}
    assert served.ask("POST", "/process.Process/List", {}, headers, key=None).status == 200
    assert served.ask("GET", "/health", None, {"Host": f"49983-{box.id}.x"}, key=None).status == 204
    answer = served.ask("GET", "/files", None, {**headers, "Host": f"3000-{box.id}.x"}, key=None)
    assert answer.status == 502 and b"port is not open" in answer.body


def test_the_audit_log_says_what_was_done_and_holds_no_secret(served: Served) -> None:
    box = served.create(envVars={"PASSWORD": "hunter22-hunter22"}, metadata={"of": "audit"})
    box.run("echo hunter22-hunter22 and more")
    box.write("written", b"content-that-is-nobodys")
    box.read("written")
    box.call("filesystem.Filesystem/Remove", {"path": "written"})
    given = {"E2b-Sandbox-Id": box.id, "X-Access-Token": box.token}
    served.ask("POST", "/execute", {"code": "'code-that-is-nobodys'"}, given, key=None)
    box.kill()
    lines = [line for line in served.audit() if line["sandbox"] == box.id]
    events = [line["event"] for line in lines]
    assert events[0] == "sandbox.created"
    assert {"command.started", "file.written", "file.read", "file.removed", "code.run", "sandbox.killed"} <= set(events)
    (command,) = [line["command"] for line in lines if line["event"] == "command.started"]
    assert command == "/bin/bash -c echo *** and more"
    text = Path(served.told["audit"]).read_text()
    for secret in ("hunter22", "nobodys", box.token, box.traffic, served.key):
        assert secret not in text
    assert stat.S_IMODE(os.stat(served.told["audit"]).st_mode) == 0o600


def test_other_machines_are_served_with_a_certificate_or_not_at_all(wflo: Wflo, tmp_path: Path) -> None:
    command = [*wflo.command, "sandbox", "serve", "--listen", "0.0.0.0:0"]
    folder = wflo.folder(tmp_path)
    done = subprocess.run(command, cwd=folder, env=wflo.env(folder), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "WFLO-5302" in done.stderr


def test_a_key_of_the_users_must_be_one(wflo: Wflo, tmp_path: Path) -> None:
    command = [*wflo.command, "sandbox", "serve", "--listen", "127.0.0.1:0", "--api-key-env", "OWN_KEY"]
    for env in ({}, {"OWN_KEY": "short"}):
        folder = wflo.folder(tmp_path)
        env = {**wflo.env(folder), **env}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0 and "WFLO-5303" in done.stderr and "short" not in done.stderr


def test_a_key_of_the_users_opens_and_is_not_printed(
    wflo: Wflo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_KEY", "k" * 40)
    with Served(wflo, tmp_path, "--api-key-env", "OWN_KEY") as served:
        assert "api_key" not in served.told
        assert served.ask("GET", "/sandboxes", key="k" * 40).status == 200
        assert served.ask("GET", "/sandboxes", key="k" * 39).status == 401


def test_a_certificate_is_shown_and_nothing_is_said_in_clear(wflo: Wflo, tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    shutil.copytree(Path(__file__).parents[2] / "crates/wflo-proxy/tests/tls", folder)
    for path in (tmp_path, folder):
        path.chmod(0o755)
    home = wflo.folder(tmp_path)
    cert, key = (shutil.copy(folder / name, home / name) for name in ("cert.pem", "key.pem"))
    Path(key).chmod(0o644)
    with Served(wflo, home, "--tls-cert", str(cert), "--tls-key", str(key)) as served:
        assert served.told["tls"] is True
        context = ssl.create_default_context(cafile=str(cert))
        context.check_hostname = False
        connection = http.client.HTTPSConnection(served.address, timeout=60, context=context)
        connection.request("GET", "/sandboxes", headers={"X-API-KEY": served.key})
        assert connection.getresponse().read() == b"[]"
        with pytest.raises((OSError, http.client.HTTPException)):
            served.ask("GET", "/sandboxes")

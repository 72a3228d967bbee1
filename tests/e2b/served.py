"""A server of sandboxes, as a user starts one, and requests that no SDK would send."""

from __future__ import annotations

import atexit
import http.client
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

# Some user that is nobody here.
ORDINARY = 65_533


class Wflo:
    """The command, as whoever runs the tests or as an ordinary user."""

    def __init__(self, program: Path, folder: Path, ordinary: bool = False) -> None:
        self.ordinary = ordinary
        self.command = [str(program)]
        if ordinary:
            # Where such a user may go.
            folder.chmod(0o755)
            program = Path(shutil.copy(program, folder / "wflo"))
            who = ["setpriv", "--reuid", str(ORDINARY), "--regid", str(ORDINARY), "--clear-groups", "--"]
            self.command = [*who, str(program)]

    def env(self, home: Path) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("E2B_")}
        return {**env, "HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin"} if self.ordinary else env

    def folder(self, given: Path) -> Path:
        """A folder that it may write."""
        if not self.ordinary:
            return given
        folder = Path(tempfile.mkdtemp(prefix="wflo-e2b-"))
        atexit.register(shutil.rmtree, folder, True)
        os.chown(folder, ORDINARY, ORDINARY)
        return folder


class Served:
    """`wflo sandbox serve`, from its first line to its end."""

    def __init__(self, wflo: Wflo, folder: Path, *options: str) -> None:
        folder = wflo.folder(folder)
        command = [*wflo.command, "sandbox", "serve", "--listen", "127.0.0.1:0", "--json", *options]
        env = wflo.env(folder)
        self.process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout and self.process.stderr
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        self.told = json.loads(line)
        self.address: str = self.told["address"]
        self.key: str = self.told.get("api_key", "")

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode

    def env(self) -> dict[str, str]:
        """What points the SDKs here."""
        base = f"http://{self.address}"
        return {**os.environ, "E2B_API_URL": base, "E2B_SANDBOX_URL": base, "E2B_API_KEY": self.key}

    def audit(self) -> list[dict[str, Any]]:
        # It may be read in the middle of a line that is being written.
        whole = Path(self.told["audit"]).read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, key: str | None = ""
    ) -> Answer:
        """One request, with the server's key unless another is given or none (`None`)."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        given = dict(headers or {})
        if key is not None:
            given["X-API-KEY"] = key or self.key
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            given.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), dict(answer.getheaders()))
        finally:
            connection.close()

    def create(self, **wish: Any) -> Box:
        answer = self.ask("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 120, **wish})
        assert answer.status == 201, answer
        return Box(self, answer.json())


class Answer:
    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.status, self.body, self.headers = status, body, headers

    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:500]!r}"


class Box:
    """A sandbox, as whoever knows its tokens has it."""

    def __init__(self, served: Served, told: dict[str, Any]) -> None:
        self.served, self.id, self.token = served, told["sandboxID"], told["envdAccessToken"]
        self.traffic = told["trafficAccessToken"]

    def headers(self, token: str | None = None) -> dict[str, str]:
        return {"E2b-Sandbox-Id": self.id, "X-Access-Token": self.token if token is None else token}

    def call(self, method: str, body: Any, token: str | None = None) -> Answer:
        return self.served.ask("POST", f"/{method}", body, self.headers(token), key=None)

    def run(self, command: str) -> dict[str, Any]:
        """Runs a command of a shell to its end."""
        import base64
        import struct

        message = json.dumps({"process": {"cmd": "/bin/bash", "args": ["-c", command]}, "stdin": False}).encode()
        headers = {**self.headers(), "Content-Type": "application/connect+json"}
        answer = self.served.ask(
            "POST", "/process.Process/Start", struct.pack(">BI", 0, len(message)) + message, headers, key=None
        )
        assert answer.status == 200, answer
        rest, done = answer.body, {"stdout": b"", "stderr": b"", "exit": None, "error": None}
        while rest:
            _, length = struct.unpack(">BI", rest[:5])
            message, rest = json.loads(rest[5 : 5 + length]), rest[5 + length :]
            event = message.get("event", {})
            for name, data in event.get("data", {}).items():
                done[name] += base64.b64decode(data)
            if "end" in event:
                done["exit"] = event["end"]["exitCode"]
            done["error"] = message.get("error", done["error"])
        return done

    def read(self, path: str, token: str | None = None) -> Answer:
        from urllib.parse import quote

        return self.served.ask("GET", f"/files?path={quote(path)}", None, self.headers(token), key=None)

    def write(self, path: str, data: bytes) -> Answer:
        from urllib.parse import quote

        headers = {**self.headers(), "Content-Type": "application/octet-stream"}
        return self.served.ask("POST", f"/files?path={quote(path)}", data, headers, key=None)

    def kill(self) -> None:
        self.served.ask("DELETE", f"/sandboxes/{self.id}")

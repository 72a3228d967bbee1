"""A cloud on loopback: wflo's own server of E2B's API, and one that lies."""

from __future__ import annotations

import base64
import http.server
import json
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from project import DEADLINE


class Cloud:
    """`wflo sandbox serve`, in a folder of its own."""

    def __init__(self, wflo: Path, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        # The rest of its environment is nobody's: a key of the tests is not in it.
        self.process = subprocess.Popen(
            [wflo, "sandbox", "serve", "--listen", "127.0.0.1:0", "--json", *options],
            cwd=folder,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.said()
        self.told = json.loads(line)
        self.key: str = self.told["api_key"]
        self.address = f"http://{self.told['address']}"

    def __enter__(self) -> Cloud:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def env(self) -> dict[str, str]:
        return {"E2B_API_URL": self.address, "E2B_SANDBOX_URL": self.address, "E2B_API_KEY": self.key}

    def audit(self) -> list[dict[str, Any]]:
        # It may be read in the middle of a line that is being written.
        whole = Path(self.told["audit"]).read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.audit() if line["event"] == event]

    def living(self) -> set[str]:
        """The sandboxes that have not ended."""
        made = {line["sandbox"] for line in self.of("sandbox.created")}
        return made - {line["sandbox"] for line in self.of("sandbox.ended")}

    def has_none(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while self.living():
            assert time.monotonic() < deadline, self.audit()
            time.sleep(0.02)


def event(event: dict[str, Any]) -> bytes:
    """One event of a process, as the daemon of a sandbox says it."""
    return envelope(json.dumps({"event": event}).encode())


def envelope(message: bytes, flags: int = 0, length: int | None = None) -> bytes:
    return struct.pack(">BI", flags, len(message) if length is None else length) + message


def written(frames: bytes) -> bytes:
    return event({"data": {"stdout": base64.b64encode(frames).decode()}})


def frame(kind: str, content: bytes = b"", stream: int = 0) -> bytes:
    """A frame of the keeper's."""
    return kind.encode() + struct.pack("<II", stream, len(content)) + content


class Liar:
    """A server that answers as a test says, on loopback: `answers` by method and path, each a status and a body, or
    what is called with the connection and writes all by itself."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any] | Callable[[http.server.BaseHTTPRequestHandler], None]] = {
            "GET /v2/sandboxes": (200, []),
            "POST /sandboxes": (201, {"sandboxID": "i1", "envdAccessToken": "token-of-it"}),
            "POST /files": (200, [{}]),
            "POST /process.Process/SendInput": (200, {}),
            "POST /process.Process/CloseStdin": (200, {}),
            "POST /sandboxes/i1/timeout": (204, None),
            "DELETE /sandboxes/i1": (204, None),
        }
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.over = threading.Event()
        liar = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = liar.body(self)
                what = f"{self.command} {self.path.split('?')[0]}"
                liar.asked.append((what, {k.lower(): v for k, v in self.headers.items()}, body))
                answer = liar.answers.get(what, (404, {"message": "no such thing"}))
                if callable(answer):
                    self.close_connection = True
                    answer(self)
                    return
                status, content = answer
                content = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                if status == 204:
                    content = b""
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @staticmethod
    def body(handler: http.server.BaseHTTPRequestHandler) -> bytes:
        if handler.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(handler.rfile.readline().strip() or b"0", 16):
                parts.append(handler.rfile.read(size)[:64])
                handler.rfile.readline()
            handler.rfile.readline()
            return b"".join(parts)
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))

    def says(self, what: str, *answers: tuple[int, dict[str, str], Any]) -> None:
        """Gives these answers (status, headers, body) one after the other, and the last one from then on."""
        left = list(answers)

        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            status, headers, body = left.pop(0) if len(left) > 1 else left[0]
            content = json.dumps(body).encode()
            handler.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content)), "Connection": "close"}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(content)

        self.answers[what] = answer

    def streams(self, *parts: bytes, hold: bool = False) -> None:
        """What a process that is started says; then the connection ends, or is held."""

        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Type", "application/connect+json")
            handler.send_header("Connection", "close")
            handler.end_headers()
            try:
                for part in parts:
                    handler.wfile.write(part)
                handler.wfile.flush()
                if hold:
                    self.over.wait(DEADLINE)
            except OSError:
                pass

        self.answers["POST /process.Process/Start"] = answer

    def __enter__(self) -> Liar:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def env(self) -> dict[str, str]:
        return {"E2B_API_URL": self.address, "E2B_SANDBOX_URL": self.address, "E2B_API_KEY": "e2b_the-real-key"}

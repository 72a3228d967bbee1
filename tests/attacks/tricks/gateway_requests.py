"""Requests that the model gateway's parser may misread: to other paths and hosts, within others, without end, too deep, too large"""

import contextlib
import gzip
import json
import os
import re
import socket
import time

from attack import Host, Ran, Setup, settings_of_model
from attack import Trick as Base


class Upstream:
    """A provider that has more than models, and remembers what it was asked."""

    def __init__(self, token: str) -> None:
        self.token, self.asked = token, []

    def answer(self, client: socket.socket) -> None:
        client.settimeout(1)
        seen = b""
        with contextlib.suppress(OSError):
            while more := client.recv(65536):
                seen += more
                # Whatever looks like a request to it is one.
                for line in re.findall(rb"(?:GET|POST|PUT|DELETE) (\S*) HTTP/1", seen):
                    self.asked.append(line.decode(errors="replace"))
                    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}
                    says = "fine" if line.startswith(b"/v1/") and b".." not in line else self.token
                    choice = {"index": 0, "message": {"role": "assistant", "content": says}, "finish_reason": "stop"}
                    reply = {"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
                    body = json.dumps(reply).encode()
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                    seen = b""


def call(content: str = "hello", **more: object) -> bytes:
    return json.dumps(
        {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": content}], **more}
    ).encode()


def post(body: bytes, headers: str = "", path: str = "/openai/v1/chat/completions", length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n"
    return head.encode() + body


def chunked(*chunks: bytes, headers: str = "") -> bytes:
    head = f"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{headers}\r\n"
    return head.encode() + b"".join(chunks)


class Trick(Base):
    area = "network"
    no_control = "without a sandbox there is no gateway"

    def prepare(self, host: Host) -> Setup:
        self.upstream = Upstream(host.token)
        port = host.serve("127.0.0.1", self.upstream.answer)
        setup = Setup(f"127.0.0.1:{port}")
        setup.project = host.dir("project")
        setup.runs, setup.shown = ["only"], [["runs", "show", "latest", "--json"]]
        setup.env["A_KEY"] = "the-key-of-the-provider"
        setup.settings = settings_of_model(port)
        return setup

    def inside(self, upstream: str, word: str, step: str) -> None:
        where = re.sub(r"^https?://", "", os.environ["OPENAI_BASE_URL"]).split("/")[0].split(":")
        smuggled = b"POST /admin HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        paths = ("/admin", "/openai/../admin", "/openai/v1/../../admin", "/openai/v1/%2e%2e/%2e%2e/admin", "//admin",
                 f"http://{upstream}/admin", "/openai/v1/chat/completions/../../../admin", "/openai/v1/files",
                 "/openai/v1\\..\\..\\admin", "/openai/v1/models/..%2f..%2f..%2fadmin", "*", "/\x00", f"@{upstream}/admin",
                 "/openai/v1/chat/completions?x=\r\nGET /admin HTTP/1.1")  # fmt: skip
        requests = [post(call(), path=path) for path in paths]
        requests += [f"GET {path} HTTP/1.1\r\nHost: {upstream}\r\n\r\n".encode(errors="replace") for path in paths]
        requests += [
            post(call(), f"Host: {upstream}\r\n"),
            post(call() + smuggled, "Transfer-Encoding: chunked\r\n"),
            post(call() + smuggled, "Transfer-Encoding: xchunked\r\n"),
            post(call() + smuggled, "Content-Length: 0\r\n"),
            post(call(), "Transfer-Encoding : chunked\r\n") + smuggled,
            post(call(), "X: a\nGET /admin HTTP/1.1\r\n"),
            post(call(), "Connection: Content-Length\r\n"),
            post(call(), "Expect: 100-continue\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"),
            chunked(b"5\r\nhello\r\n0\r\n\r\n"), chunked(b"ffffffffffffffff\r\nx"), chunked(b"-1\r\nx\r\n"),
            chunked(b"5;" + b"a" * 100_000 + b"\r\nhello\r\n0\r\n\r\n"),
            chunked(b"0\r\nTrailer: " + b"a" * 1_000_000 + b"\r\n\r\n"),
            post(b"[" * 200_000), post(b'{"model":' * 50_000), post(b'{"model": "\xff\xfe"}'), post(b'{"model": "\\ud800"}'),
            post(call(), length=1 << 62), post(call(), length=-1), post(b""),
            post(gzip.compress(call("x" * 50_000_000)), "Content-Encoding: gzip\r\n"),
            post(call(max_tokens=10**30)), post(call(n=10**9)), post(call(max_tokens=-1)), post(call(stream="yes")),
            post(call(), "X: y\r\n" * 20_000), post(call(), f"X: {'y' * 2_000_000}\r\n"), b"\0" * 100_000, b"\r\n" * 50_000,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 9, b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ]  # fmt: skip
        silent = []
        for number, data in enumerate(requests):
            with contextlib.suppress(OSError):
                stream = socket.create_connection((where[0], int(where[1])), timeout=1)
                silent.append(stream)
                with contextlib.suppress(OSError):
                    stream.sendall(data)
                    print(number, stream.recv(65536).decode(errors="replace")[:300], flush=True)
        # As many as one is given that say nothing, and one byte of a request that never goes on.
        for _ in range(300):
            with contextlib.suppress(OSError):
                silent.append(stream := socket.create_connection((where[0], int(where[1])), timeout=1))
                stream.sendall(b"P")
        end = time.monotonic() + 90
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection((where[0], int(where[1])), timeout=5) as stream:
                stream.sendall(post(call("the last one")))
                if b"fine" in (said := stream.recv(65536)):
                    return print("still served", flush=True)
                print(said[:300])
            # Where so many at once are not served: it is its own, and only as long as it likes.
            while silent:
                silent.pop().close()
        raise SystemExit("nobody is served any more")

    def escaped(self, host: Host, ran: Ran) -> str | None:
        (run,) = (json.loads(line) for line in ran.output.splitlines() if line.startswith('{"'))
        assert "still served" in ran.output, ran
        if run["status"] != "completed":
            return f"the step ended with {run['error']}"
        if wrong := [path for path in self.upstream.asked if path not in ("/v1/chat/completions", "/v1/models")]:
            return f"asked of the provider: {wrong}"
        paid = float(run["cost_usd"])
        if paid != (asked := self.upstream.asked.count("/v1/chat/completions")):
            return f"{asked} calls of 1 USD reached the provider, {paid} was paid"
        return super().escaped(host, ran)

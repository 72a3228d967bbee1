"""The server: takes requests as each provider's reference documents them, and keeps an entry of each."""

import http.server
import json
import re
import threading
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from . import anthropic, cohere, google, openai
from .reply import Reply, Sse

GOOGLE = re.compile(r"/v1(?:beta)?/models/([^:]+):(\w+)")
# In what a user says: the stream breaks off in its middle.
CUT = "cut this short"
# In what a user says: the first time, the provider is overloaded.
BUSY = "are you busy"

PLAIN: dict[str, tuple[str, Callable[[dict], Reply]]] = {
    "/v1/chat/completions": ("openai", openai.chat),
    "/v1/responses": ("openai", openai.responses),
    "/v1/responses/input_tokens": ("openai", openai.input_tokens),
    "/v1/embeddings": ("openai", openai.embeddings),
    "/v1/messages": ("anthropic", anthropic.messages),
    "/v1/messages/count_tokens": ("anthropic", anthropic.count_tokens),
    "/v2/chat": ("cohere", cohere.chat),
    "/v2/embed": ("cohere", cohere.embed),
    "/v2/rerank": ("cohere", cohere.rerank),
}


class Entry:
    """One request: `billed` is None unless an answer was given to its end."""

    def __init__(self, dialect: str, path: str, headers: dict[str, str], body: dict, raw: bytes) -> None:
        self.dialect = dialect
        self.path = path
        self.headers = headers
        self.body = body
        self.raw = raw
        self.model = str(body.get("model") or "")
        self.billed: dict[str, int] | None = None


class Provider:
    """The server; `with Provider() as provider:`."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.entries: list[Entry] = []
        self.unknown: list[str] = []
        provider = self

        class Handler(Answer):
            asked = provider

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> "Provider":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def seen(self, model: str | None = None) -> list[Entry]:
        """What was asked, of one model or of all."""
        with self.lock:
            return [entry for entry in self.entries if model is None or entry.model == model]


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    asked: Provider

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.nothing("GET")

    def do_POST(self) -> None:
        raw = self.body()
        parts = urlsplit(self.path)
        body = json.loads(raw)
        if found := PLAIN.get(parts.path):
            dialect, answer = found
        elif matched := GOOGLE.fullmatch(parts.path):
            dialect, answer = "google", google_answer(matched[2], matched[1], parts.query)
            body = {"model": matched[1], **body}
        else:
            self.nothing("POST")
            return
        entry = Entry(dialect, self.path, {k.lower(): v for k, v in self.headers.items()}, body, raw)
        with self.asked.lock:
            self.asked.entries.append(entry)
        reply = answer(body)
        try:
            # Billed before its last byte is out: whoever has that may look at the bill.
            if BUSY in raw.decode() and [before.raw for before in self.asked.seen()].count(raw) == 1:
                entry.billed = {"input": 0, "output": 0}
                self.whole(503, b'{"error": {"message": "overloaded", "type": "server_error", "code": 503}}')
                return
            if isinstance(reply, Sse):
                self.stream(entry, reply, cut=CUT in raw.decode())
            else:
                entry.billed = reply.billed
                self.whole(200, reply.frames()[0])
        except (BrokenPipeError, ConnectionResetError):
            entry.billed = None
            self.close_connection = True

    def nothing(self, method: str) -> None:
        with self.asked.lock:
            self.asked.unknown.append(f"{method} {self.path}")
        self.whole(404, b'{"error": {"message": "no such endpoint", "code": 404}}')

    def body(self) -> bytes:
        if "chunked" not in (self.headers.get("transfer-encoding") or ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def whole(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, entry: Entry, reply: Sse, cut: bool) -> None:
        frames = reply.frames()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if cut:
            # Past the first piece of text and before the end: looks whole to a client that trusts a close.
            frames = frames[: len(frames) // 2 + 1]
        for frame in frames:
            # In two writes, cut where a character may be.
            for piece in (frame[: len(frame) * 2 // 3], frame[len(frame) * 2 // 3 :]):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
        if cut:
            self.close_connection = True
            return
        entry.billed = reply.billed
        self.wfile.write(b"0\r\n\r\n")


def google_answer(verb: str, model: str, query: str) -> Callable[[dict], Reply]:
    sse = parse_qs(query).get("alt") == ["sse"]
    match verb:
        case "generateContent" | "streamGenerateContent":
            return lambda body: google.generate(body, model, verb == "streamGenerateContent", sse)
        case "countTokens":
            return google.count_tokens
        case "embedContent":
            return google.embed
        case _:
            return google.batch_embed

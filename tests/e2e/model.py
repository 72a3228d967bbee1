"""A model provider on loopback that remembers what it was asked.

It speaks OpenAI chat completions and Anthropic messages, streamed or not, as far as the stock
clients and wflo use them. What it answers is a function of the request: it echoes the last user
message. An entry is `sent` once the last byte of its answer is written.
"""

import http.server
import json
import socket
import struct
import threading
from collections import Counter


class MockModel:
    """The server; `with MockModel() as model:`."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.entries: list[dict] = []
        # Last user message -> how many more times it is answered with 400.
        self.refuse: dict[str, int] = {}
        # Last user message -> how its answers go wrong, one after the other (see `Answer.goes_wrong`).
        self.faults: dict[str, list[str]] = {}
        # Last user message -> the tools that its answer asks for: id, name, arguments.
        self.tools: dict[str, list[tuple[str, str, dict]]] = {}
        # Tokens that each answer bills.
        self.input_tokens, self.output_tokens = 10, 5
        self.open_gate = threading.Event()
        self.open_gate.set()
        self.over = threading.Event()
        model = self

        class Handler(Answer):
            server_model = model

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> "MockModel":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.open_gate.set()
        self.server.shutdown()
        self.server.server_close()

    def hold(self) -> None:
        """Lets requests arrive and answers none until `release`."""
        self.open_gate.clear()

    def release(self) -> None:
        self.open_gate.set()

    def wait_for(self, count: int, seconds: float = 60) -> None:
        """Until `count` requests have arrived."""
        with self.lock:
            assert self.lock.wait_for(lambda: len(self.entries) >= count, seconds), f"{len(self.entries)} requests"

    def asked(self) -> Counter:
        """How often each last user message has arrived."""
        with self.lock:
            return Counter(entry["said"] for entry in self.entries)


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_model: MockModel

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length))
        last = body["messages"][-1]["content"] or ""
        said = last if isinstance(last, str) else " ".join(part.get("text", "") for part in last)
        entry = {"path": self.path, "said": said, "body": body, "sent": False, "key": self.key()}
        with self.server_model.lock:
            self.server_model.entries.append(entry)
            self.server_model.lock.notify_all()
        self.server_model.open_gate.wait(600)
        try:
            if self.refuse(said) or self.goes_wrong(body, said):
                return
            # By the end of the path: the address that a client is given may have a prefix.
            if self.path.split("?")[0].endswith("/messages"):
                self.anthropic(body, said)
            else:
                self.openai(body, said)
            entry["sent"] = True
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def refuse(self, said: str) -> bool:
        with self.server_model.lock:
            left = self.server_model.refuse.get(said, 0)
            self.server_model.refuse[said] = max(0, left - 1)
        if left:
            self.whole({"error": {"message": "no", "type": "invalid_request_error", "code": None}}, 400)
        return left > 0

    def goes_wrong(self, body: dict, said: str) -> bool:
        """Answers as the next fault of this message says. What hangs hangs until the server ends."""
        with self.server_model.lock:
            queue = self.server_model.faults.get(said)
            fault = queue.pop(0) if queue else None
        if fault is None:
            return False
        self.close_connection = True
        match fault.split():
            case ["hang"]:
                self.hang()
            case ["hang", "after", "head"]:
                self.head(body)
                self.hang()
            case ["hang", "in", "the", "middle"]:
                self.begin(body, said)
                self.hang()
            case ["reset"]:
                self.begin(body, said)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            case ["cut"]:  # closed in order, without the last chunk or the promised length
                self.begin(body, said)
            case ["no", "http"]:
                self.wfile.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            case ["garbage"]:
                self.plain(200, b"\xff\xfe<html>", {})
            case ["wrong", "json"]:
                self.plain(200, b'{"choices": [], "usage": {"prompt_tokens": "many"}}', {})
            case ["error", "event"]:
                self.begin(body, said)
                event = b'data: {"error": {"message": "overloaded", "type": "server_error"}}\n\n'
                self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(event), event))
            case [status, *after]:
                error = {"error": {"message": "not now", "type": "server_error", "code": None}}
                headers = {"retry-after": after[0]} if after else {}
                self.plain(int(status), json.dumps(error).encode(), headers)
        return True

    def hang(self) -> None:
        self.wfile.flush()
        self.server_model.over.wait(600)

    def plain(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def head(self, body: dict) -> None:
        """The head of an answer that is not there."""
        self.send_response(200)
        if body.get("stream"):
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "1000")
        self.end_headers()

    def begin(self, body: dict, said: str) -> None:
        """The head and the first part of an answer."""
        self.head(body)
        part = {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": said}, "finish_reason": None}]}
        data = b"data: " + json.dumps(part).encode() + b"\n\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if body.get("stream") else b'{"id": "chat')
        self.wfile.flush()

    def key(self) -> str:
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        return self.headers.get("x-api-key") or bearer

    def whole(self, value: object, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def events(self, events: list[tuple[str | None, object]]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for name, value in events:
            text = value if isinstance(value, str) else json.dumps(value)
            data = ((f"event: {name}\n" if name else "") + f"data: {text}\n\n").encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def openai(self, body: dict, said: str) -> None:
        text = f"You said: {said}"
        read, written = self.server_model.input_tokens, self.server_model.output_tokens
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        head = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        if not body.get("stream"):
            message: dict = {"role": "assistant", "content": text}
            if tools := self.server_model.tools.get(said):
                calls = [
                    {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
                    for id, name, arguments in tools
                ]
                message = {"role": "assistant", "content": None, "tool_calls": calls}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.whole({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
            return
        parts: list[dict] = [{"role": "assistant", "content": ""}]
        parts += [{"content": word} for word in text.replace(" ", " \0").split("\0")]
        head = {**head, "object": "chat.completion.chunk"}
        events: list[tuple[str | None, object]] = [
            (None, {**head, "choices": [{"index": 0, "delta": part, "finish_reason": None}]}) for part in parts
        ]
        events.append((None, {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append((None, {**head, "choices": [], "usage": usage}))
        events.append((None, "[DONE]"))
        self.events(events)

    def anthropic(self, body: dict, said: str) -> None:
        text = f"You said: {said}"
        read, written = self.server_model.input_tokens, self.server_model.output_tokens
        message = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": read, "output_tokens": 1},
        }  # fmt: skip
        if not body.get("stream"):
            content: list[dict] = [{"type": "text", "text": text}]
            for id, name, arguments in self.server_model.tools.get(said, []):
                content.append({"type": "tool_use", "id": id, "name": name, "input": arguments})
            usage = {"input_tokens": read, "output_tokens": written}
            self.whole({**message, "content": content, "stop_reason": "end_turn", "usage": usage})
            return
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        block = {"type": "text", "text": ""}
        events: list[tuple[str | None, object]] = [
            ("message_start", {"type": "message_start", "message": message}),
            ("content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}),
        ]
        for word in text.replace(" ", " \0").split("\0"):
            part = {"type": "text_delta", "text": word}
            events.append(("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": part}))
        events += [
            ("content_block_stop", {"type": "content_block_stop", "index": 0}),
            ("message_delta", {"type": "message_delta", "delta": delta, "usage": {"output_tokens": written}}),
            ("message_stop", {"type": "message_stop"}),
        ]
        self.events(events)

"""A wire between a client and the gateway that passes every byte on and reads the requests that go by."""

import contextlib
import socket
import threading


class Request:
    """One request as the client sent it."""

    def __init__(self, head: bytes) -> None:
        line, *rest = head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = line.split(" ", 2)
        pairs = (entry.partition(":") for entry in rest if entry)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self.body = b""

    def __repr__(self) -> str:
        return f"{self.method} {self.path} {self.body[:200]!r}"


class Reader:
    """Cuts the bytes of one direction of a connection into requests (RFC 9112, section 6)."""

    def __init__(self, seen: list[Request]) -> None:
        self.seen = seen
        self.data = b""
        self.open: Request | None = None
        self.left = 0

    def feed(self, data: bytes) -> None:
        self.data += data
        while self.step():
            pass

    def step(self) -> bool:
        """Takes one head or body, if it is whole."""
        if self.open is None:
            head, end, rest = self.data.partition(b"\r\n\r\n")
            if not end:
                return False
            self.open, self.data = Request(head), rest
            self.seen.append(self.open)
            return True
        body = self.chunked() if "transfer-encoding" in self.open.headers else self.counted()
        if body is None:
            return False
        self.open.body = body
        self.open = None
        return bool(self.data)

    def counted(self) -> bytes | None:
        assert self.open
        length = int(self.open.headers.get("content-length") or 0)
        if len(self.data) < length:
            return None
        body, self.data = self.data[:length], self.data[length:]
        return body

    def chunked(self) -> bytes | None:
        body, rest = b"", self.data
        while True:
            size, end, rest = rest.partition(b"\r\n")
            if not end:
                return None
            length = int(size.split(b";")[0], 16)
            if len(rest) < length + 2:
                return None
            body, rest = body + rest[:length], rest[length + 2 :]
            if not length:
                self.data = rest
                return body


class Relay:
    """Listens on a port of its own; `with Relay(("127.0.0.1", port)) as relay:`."""

    def __init__(self, to: tuple[str, int]) -> None:
        self.to = to
        self.requests: list[Request] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]

    def __enter__(self) -> "Relay":
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes `accept`, which a close alone does not.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.to)
            reader = Reader(self.requests)
            for source, sink, read in ((client, server, reader.feed), (server, client, None)):
                threading.Thread(target=pass_on, args=(source, sink, read), daemon=True).start()


def pass_on(source: socket.socket, sink: socket.socket, read) -> None:
    """Until either end closes; a half-closed connection stays half open, a reset becomes an end."""
    try:
        while data := source.recv(65536):
            if read:
                read(data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

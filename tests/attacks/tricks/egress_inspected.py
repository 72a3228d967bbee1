"""More than a rule names of a host whose TLS is looked into: names, protocols, paths, requests within requests"""

import os
import re
import socket
import ssl

from attack import Host, Ran, Setup, won
from attack import Trick as Base


def serve(client: socket.socket, context: ssl.SSLContext, token: str) -> None:
    """A naive server: it answers all that look like requests, by the path that it makes of them."""
    try:
        with context.wrap_socket(client, server_side=True) as stream:
            stream.settimeout(1)
            seen = b""
            while part := stream.recv(65536):
                seen += part
                if seen.startswith(b"PRI * HTTP/2"):
                    stream.sendall(token.encode())
                for path in re.findall(rb"(?:GET|POST) (\S*) HTTP/1", seen):
                    hidden = b"secret" in path or b"%73ecret" in path
                    body = token.encode() if hidden else b"nothing"
                    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    except OSError:
        pass


class Trick(Base):
    area = "network"

    def prepare(self, host: Host) -> Setup:
        context = host.certified("127.0.0.2")
        at = f"127.0.0.2:{host.serve('127.0.0.2', lambda client: serve(client, context, host.token))}"
        setup = Setup(at)
        setup.project = host.dir("project")
        setup.settings = (
            f'allow_hosts = ["GET,POST https://{at}/public/**"]\nca_file = "{host.folder / "authority/ca.pem"}"\n'
        )
        return setup

    def inside(self, at: str) -> None:
        proxy = os.environ.get("HTTPS_PROXY")

        def ask(request: str, name: str | None = None, protocols: tuple[str, ...] = ()) -> None:
            where = proxy.split("//")[1].split(":") if proxy else at.split(":")
            own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            own.check_hostname, own.verify_mode = False, ssl.CERT_NONE
            if protocols:
                own.set_alpn_protocols(list(protocols))
            try:
                with socket.create_connection((where[0], int(where[1])), timeout=5) as stream:
                    if proxy:
                        stream.sendall(f"CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n".encode())
                        stream.recv(4096)
                    with own.wrap_socket(stream, server_hostname=name) as tls:
                        tls.settimeout(1)
                        tls.sendall(request.encode())
                        while said := tls.recv(65536):
                            print(said.decode(errors="replace"))
            except OSError as error:
                print(repr(request[:30]), error)

        hidden = f"GET /secret HTTP/1.1\r\nHost: {at}\r\n\r\n"
        ask(f"GET /public/x HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")
        for path in ("/secret", "/public/../secret", "/public/%2e%2e/secret", "/public/..%2fsecret", "/public/%252e%252e/secret",
                     "//secret", "/public//../../secret", "/public/..;/secret", "/public\\..\\secret", "/public/x?/../secret",
                     f"https://{at}/secret", "/public/%00/../secret", "/public/.././secret"):  # fmt: skip
            if path != "/public/x?/../secret":
                ask(f"GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")
        ask(f"GET /public/x HTTP/1.1\r\nHost: {at}\r\nX-Original-URL: /secret\r\n\r\n{hidden}")
        ask(
            f"POST /public/x HTTP/1.1\r\nHost: {at}\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
        )
        ask(f"GET /public/x HTTP/1.1\r\nHost: {at}\r\nX: a\rGET /secret HTTP/1.1\r\n\r\n")
        ask(f"DELETE /public/x HTTP/1.1\r\nHost: {at}\r\n\r\n{hidden}")
        ask(hidden, name="evil.example")
        ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", protocols=("h2",))
        ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        # The key of its authority would let a program speak for any host towards its own like.
        trusted = os.environ.get("SSL_CERT_FILE")
        if trusted:
            with open(trusted) as file:
                if "PRIVATE KEY" in file.read():
                    won("the authority's key")

    def escaped(self, host: Host, ran: Ran) -> str | None:
        # Who reaches nothing at all is held by something else.
        return super().escaped(host, ran) or (None if "nothing" in ran.output else "what is allowed does not pass")

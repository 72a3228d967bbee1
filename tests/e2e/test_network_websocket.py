"""Connections that are kept and WebSockets at a host that is looked at, as clients in a step speak them."""

import base64
import hashlib
import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import Project
from test_network import HOST
from test_network_inspect import outputs

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Live:
    """A server over TLS whose WebSockets send every message back, in frames of RFC 6455; other requests get `hello`."""

    def __init__(self, tls: Path) -> None:
        seen: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)

        class Handler(socketserver.StreamRequestHandler):
            def setup(self) -> None:
                self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def handle(self) -> None:
                lines = []
                while (line := self.rfile.readline().strip()) != b"":
                    lines.append(line.decode())
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
                }
                seen.append(lines[0].rpartition(" ")[0])
                self.rfile.read(int(headers.get("content-length", 0)))
                while "transfer-encoding" in headers and (length := int(self.rfile.readline(), 16)):
                    self.rfile.read(length + 2)
                if headers.get("upgrade") != "websocket":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                    return
                accept = base64.b64encode(hashlib.sha1(headers["sec-websocket-key"].encode() + GUID).digest())
                head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                self.wfile.write(head + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
                while len(first := self.rfile.read(2)) == 2:
                    length = first[1] & 127
                    if length == 126:
                        length = int.from_bytes(self.rfile.read(2), "big")
                    mask = self.rfile.read(4)
                    text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
                    short = bytes([length]) if length < 126 else b"\x7e" + length.to_bytes(2, "big")
                    self.wfile.write(bytes([first[0]]) + short + text)
                    if first[0] & 15 == 8:
                        return

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

        self.seen = seen
        self.server = Server((HOST, 0), Handler)
        self.at = f"{HOST}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def live(authority: Path) -> Iterator[Live]:
    made = Live(authority / "host.pem")
    yield made
    made.server.shutdown()
    made.server.server_close()


# What a step is given to speak with: the proxy and the certificates by their usual variables, and nothing of wflo's.
CLIENT = """
    import base64, http.client, socket, ssl, urllib.parse

    def through(at):
        proxy = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"])
        host, port = at.split(":")
        made = http.client.HTTPSConnection(proxy.hostname, proxy.port, context=ssl.create_default_context())
        made.set_tunnel(host, int(port))
        return made

    def websocket(at, path):
        made = through(at)
        made.connect()
        key = base64.b64encode(os.urandom(16)).decode()
        made.sock.sendall(
            f"GET {path} HTTP/1.1\\r\\nHost: {at}\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
            f"Sec-WebSocket-Key: {key}\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n".encode()
        )
        stream = made.sock.makefile("rwb")
        first = stream.readline().decode().strip()
        while stream.readline().strip():
            pass
        return first, stream

    def frame(kind, text):
        mask = os.urandom(4)
        length = bytes([128 | len(text)]) if len(text) < 126 else b"\\xfe" + len(text).to_bytes(2, "big")
        return bytes([128 | kind]) + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))

    def message(stream):
        first = stream.read(2)
        length = first[1] if first[1] < 126 else int.from_bytes(stream.read(2), "big")
        return stream.read(length)
"""


def project_with(project: Project, authority: Path, rules: list[str], more: str = "") -> None:
    allowed = ", ".join(f'"{rule}"' for rule in rules)
    project.settings = project.settings.partition("\n[sandbox]")[0]
    project.write_settings(f"""
        [sandbox]
        allow_hosts = [{allowed}]
        ca_file = "{authority / "ca.pem"}"
        {more}
    """)


def test_a_client_keeps_its_connection_and_each_request_is_judged(
    project: Project, authority: Path, live: Live
) -> None:
    project_with(project, authority, [f"GET,POST https://{live.at}/in/**"])
    project.steps(
        CLIENT
        + """
    @workflow.step
    def ask(context):
        made, said = through(context.inputs["at"]), []
        for method, path, body in [
            ("GET", "/in/1", None), ("POST", "/in/2", b"abc"), ("POST", "/in/3", iter([b"a", b"b"])), ("PUT", "/in/4", b"x"),
        ]:
            made.request(method, path, body, encode_chunked=True)
            port = made.sock.getsockname()[1]
            answer = made.getresponse()
            said.append([answer.status, answer.read().decode()[:5], port])
        return said
"""
    )
    done = project.run("--input", f"at={live.at}")
    said = outputs(done)
    assert [status for status, _, _ in said] == [200, 200, 200, 403], said
    assert len({port for _, _, port in said}) == 1, "all on one connection"
    assert live.seen == ["GET /in/1", "POST /in/2", "POST /in/3"]
    assert [event["request"] for event in done.of("egress.opened")] == live.seen
    [refused] = done.of("egress.refused")
    assert refused["error"]["code"] == "WFLO-5202", refused


SPEAK = (
    CLIENT
    + """
    @workflow.step
    def speak(context):
        first, stream = websocket(context.inputs["at"], "/live/1?token=x")
        if " 101 " not in first:
            return [first]
        said = []
        for text in [b"hello", b"x" * 5000]:
            stream.write(frame(1, text))
            stream.flush()
            said.append(message(stream).decode()[:5])
        stream.write(frame(8, b"\\x03\\xe8"))
        stream.flush()
        said.append(len(message(stream)))
        return [first, *said]
"""
)


def test_a_step_speaks_over_a_websocket_where_a_rule_lets_it(project: Project, authority: Path, live: Live) -> None:
    project.steps(SPEAK)
    project_with(project, authority, [f"https://{live.at}/live/**"])
    done = project.run("--input", f"at={live.at}")
    assert outputs(done)[1:] == ["hello", "xxxxx", 2], done
    [opened] = done.of("egress.opened")
    [closed] = done.of("egress.closed")
    assert (opened["way"], opened["request"]) == ("https", "WEBSOCKET /live/1"), opened
    assert closed["sent_bytes"] > 5000 and closed["received_bytes"] > 5000, closed
    # A rule of methods has to name it.
    for methods, code in [("GET", "WFLO-5217"), ("GET,WEBSOCKET", None), ("POST", "WFLO-5202")]:
        project_with(project, authority, [f"{methods} https://{live.at}/live/**"])
        done = project.run("--input", f"at={live.at}")
        [first, *_] = outputs(done)
        assert (f"[{code}]" in first) if code else " 101 " in first, (methods, first)
        told = [event["error"]["code"] for event in done.of("egress.refused")]
        assert told == ([code] if code else []), told
    assert live.seen == ["GET /live/1?token=x"] * 2


def test_a_websocket_ends_at_the_limit_of_its_run(project: Project, authority: Path, live: Live) -> None:
    project.steps(SPEAK.replace("return [first, *said]", "return said").replace("5000", "60000"))
    project_with(project, authority, [f"https://{live.at}/live/**"], 'network = { sent = "20k" }')
    done = project.run("--input", f"at={live.at}")
    [closed] = done.of("egress.closed")
    assert closed["end"] == "refused" and closed["error"]["code"] == "WFLO-5206", closed
    assert closed["sent_bytes"] == 20 << 10, closed


def test_there_is_no_websocket_where_a_step_uses_secrets(project: Project, authority: Path, live: Live) -> None:
    project.environment["REAL_TOKEN"] = "the-real-value-of-it"
    project.steps(SPEAK)
    project_with(project, authority, [f"https://{live.at}"])
    project.settings += f'''
[secrets.api]
env = "API_TOKEN"
value_env = "REAL_TOKEN"
hosts = ["{live.at}"]
'''
    project.write_settings()
    [first] = outputs(project.run("--input", f"at={live.at}"))
    assert "403" in first and "[WFLO-5217]" in first, first
    assert live.seen == []

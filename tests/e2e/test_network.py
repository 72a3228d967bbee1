"""What a step and a command reach of other hosts: named ones, through the proxy, and nothing else.

The hosts are servers on 127.0.0.2: an address that a rule has to name, and that clients inside do not take for
the sandbox's own.
"""

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import Project, question

HOST = "127.0.0.2"


class Server:
    """A server that remembers what it was asked."""

    def __init__(self, tls: Path | None = None, host: str = HOST) -> None:
        seen: list[str] = []

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(self.path)
                moved = self.path == "/moved"
                self.send_response(302 if moved else 200)
                if moved:
                    self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
                self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(b"hello")

            def log_message(self, *_: object) -> None:
                pass

        self.seen = seen
        self.server = http.server.ThreadingHTTPServer((host, 0), Answer)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.at = f"{host}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Server]:
    """The same with TLS."""
    file = tmp_path / "server.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"]
    subprocess.run([*make, "-addext", f"subjectAltName=IP:{HOST}", "-keyout", file, "-out", file], check=True)
    made = Server(file)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_command_reaches_the_host_that_is_named_and_no_other(project: Project, server: Server) -> None:
    curl = ["curl", "-sS", "-w", " %{http_code}", f"http://{server.at}/x?y=1"]
    done = project.call("sandbox", "exec", "--allow-host", server.at, "--", *curl)
    assert (done.code, done.out) == (0, "hello 200"), done
    done = project.call("sandbox", "exec", "--allow-host", "api.example.org", "--", *curl)
    assert done.out.startswith("wflo: no rule allows") and done.out.endswith(" 403"), done
    assert "WFLO-5202" in done.err, done
    done = project.call("sandbox", "exec", "--", *curl)
    assert done.code == 7 and not done.out.startswith("hello"), done
    assert server.seen == ["/x?y=1"]


def test_a_rule_that_stock_clients_never_come_to_is_remarked_on(project: Project, server: Server) -> None:
    for rule in ("127.0.0.1:18955", "http://localhost:18955"):
        done = project.call("sandbox", "exec", "--allow-host", rule, "--", "true")
        assert done.code == 0 and f"`{rule}`" in done.err and "NO_PROXY" in done.err, done
        done = project.call("run", "--allow-host", rule, "--", "true")
        assert done.code == 0 and f"`{rule}`" in done.err and "NO_PROXY" in done.err, done
    done = project.call("sandbox", "exec", "--allow-host", server.at, "--", "true")
    assert done.code == 0 and "NO_PROXY" not in done.err, done
    project.steps("@workflow.step\nasync def wait(context):\n    await context.approve('go on?')\n")
    asked = question(project.start("run"))
    for rule, remarked in (("127.0.0.1:18955", True), (server.at, False)):
        done = project.call("egress", "allow", asked["run_id"], rule)
        assert done.code == 0 and ("NO_PROXY" in done.err) == remarked, done


def test_tls_is_between_the_command_and_the_host(project: Project, secure: Server) -> None:
    curl = ["curl", "-sSk", f"https://{secure.at}/"]
    done = project.call("sandbox", "exec", "--allow-host", secure.at, "--", *curl)
    assert (done.code, done.out) == (0, "hello"), done
    done = project.call("sandbox", "exec", "--allow-host", "api.example.org", "--", *curl)
    assert done.code == 56 and "403" in done.err, done
    # Bytes that are no TLS do not arrive.
    talk = (
        "import socket, os\n"
        "host, port = os.environ['HTTP_PROXY'].split('//')[1].split(':')\n"
        "s = socket.create_connection((host, int(port)))\n"
        f"s.sendall(b'CONNECT {secure.at} HTTP/1.1\\r\\nHost: {secure.at}\\r\\n\\r\\n')\n"
        "print(s.recv(12))\n"
        "s.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')\n"
        "print(s.makefile('rb').read().endswith(b'hello'))"
    )
    done = project.call("sandbox", "exec", "--allow-host", secure.at, "--", "python3", "-c", talk)
    assert done.out == "b'HTTP/1.1 200'\nFalse\n" and "WFLO-5205" in done.err, done


def test_a_redirect_into_the_dark_is_refused(project: Project, server: Server) -> None:
    curl = ["curl", "-sSL", "-w", " %{http_code}", f"http://{server.at}/moved"]
    done = project.call("sandbox", "exec", "--allow-host", server.at, "--", *curl)
    assert done.out.endswith(" 403") and "169.254.169.254:80" in done.err, done


STEPS = """
    import urllib.request, urllib.error

    @workflow.step
    def fetch(context):
        said = []
        for url in context.inputs["urls"]:
            try:
                said.append(urllib.request.urlopen(url).read().decode())
            except urllib.error.HTTPError as error:
                said.append(f"{error.code} {error.reason}")
        return said
"""


def test_each_connection_of_a_step_is_in_its_run(project: Project, server: Server) -> None:
    project.steps(STEPS)
    urls = f'urls=["http://{server.at}/a?secret=1", "http://evil.example/"]'
    done = project.run("--input", urls, "--allow-host", f"GET http://{server.at}/**")
    assert done.code == 0, done
    [said] = [step["output"] for step in done.of("step.succeeded")]
    assert said[0] == "hello" and said[1].startswith("403 wflo: no rule allows evil.example:80"), said
    [opened] = done.of("egress.opened")
    [closed] = done.of("egress.closed")
    [refused] = done.of("egress.refused")
    assert (opened["host"], opened["request"], opened["way"]) == (HOST, "GET /a", "http"), opened
    assert closed["received_bytes"] > 5 and closed["sent_bytes"] > 5 and closed["end"] == "done", closed
    assert (refused["host"], refused["error"]["code"]) == ("evil.example", "WFLO-5202"), refused
    assert opened["seq"] < closed["seq"]
    spans = project.call("runs", "trace", done.run["id"], "--json").events
    [span] = [span for span in spans if span["kind"] == "connection"]
    assert (span["name"], span["status"]) == (f"http {server.at}", "ok"), span
    assert "secret" not in str([opened, closed, refused]), "a query is nobody's business"


def test_settings_allow_once_they_are_trusted_and_a_workflow_only_asks(project: Project, server: Server) -> None:
    project.steps(STEPS + f"\n    workflow.configure_sandbox(allow_hosts=['{server.at}'])\n")
    urls = f'urls=["http://{server.at}/a"]'
    done = project.run("--input", urls)
    assert done.code == 2 and "WFLO-5201" in done.out + done.err, done
    project.write_settings(f'\n[sandbox]\nallow_hosts = ["{server.at}"]\n')
    done = project.run("--input", urls, WFLO_TRUST="0")
    assert done.code == 2 and "WFLO-8016" in done.out + done.err, done
    done = project.run("--input", urls, WFLO_TRUST="1")
    assert done.code == 0 and server.seen == ["/a"], done


def test_without_isolation_no_host_can_be_held_to(project: Project) -> None:
    project.steps(STEPS)
    done = project.run("--input", "urls=[]", "--sandbox", "none", "--allow-host", "api.example.org")
    assert done.code == 2 and "WFLO-5008" in done.out + done.err, done

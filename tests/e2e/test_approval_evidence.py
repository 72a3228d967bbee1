"""What people are told that a step has done, when they are asked about its output."""

import http.server
import threading
from collections.abc import Iterator

import pytest
from project import Project

SENDS = """
    SEND = "; ".join([
        "import http.client, os",
        "name, port = os.environ['HTTP_PROXY'].split('//')[1].split(':')",
        "proxy = http.client.HTTPConnection(name, int(port))",
        "about = {'Host': 'HOST', 'Connection': 'close'}",
        "proxy.request('DELETE', 'http://HOST/v1/customers/7', body=b'gone', headers=about)",
        "print(proxy.getresponse().status)",
    ])

    @workflow.step
    def one(context):
        return "one"

    @workflow.step(approval_required=True)
    async def two(context):
        code = SEND.replace("HOST", context.inputs["host"])
        if context.inputs["how"] == "tool":
            return (await context.tools.run([sys.executable, "-c", code])).stdout
        import subprocess
        return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
"""


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A server that can be told to delete; where it is, and what it was asked."""
    seen: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            seen.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{made.server_address[1]}", seen
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize("how", ["tool", "subprocess"])
def test_what_a_step_sent_by_itself_is_named_and_never_called_nothing(
    project: Project, server: tuple[str, list[str]], how: str
) -> None:
    host, seen = server
    project.steps(SENDS)
    running = project.start("run", "--allow-host", host, "--input", f"host={host}", "--input", f"how={how}")
    asked = running.until("approval.requested")
    assert seen == ["/v1/customers/7"]
    assert "wrote nothing" not in asked["title"] and host in asked["title"], asked["title"]
    [reached] = asked["evidence"]["connections"]
    assert f"{reached['host']}:{reached['port']}" == host, reached
    assert (reached["requests"], reached["times"]) == (["DELETE /v1/customers/7"], 1), reached
    assert reached["sent_bytes"] > 4 and "bytes_unknown_of" not in reached, reached
    assert ("commands" in asked["evidence"]) == (how == "tool"), asked["evidence"]
    shown = project.call("approvals", "show", asked["approval_id"])
    if how == "tool":
        [ran] = asked["evidence"]["commands"]
        assert ran["argv"][1] == "-c" and "DELETE" in ran["argv"][2], ran
        assert " -c 'import http.client, os; " in shown.out, shown
    assert "DELETE /v1/customers/7" in shown.out and host in shown.out, shown
    assert project.call("approvals", "approve", asked["approval_id"]).code == 0
    done = running.finish()
    assert done.code == 0, done
    # The same step at the same host is what was approved, however often it is resumed.
    assert len(done.of("approval.requested")) == 1
    assert len(seen) == (1 if how == "tool" else 2), "a journaled command does not run again"


def test_a_step_that_did_nothing_else_is_still_said_to_have_written_nothing(project: Project) -> None:
    project.steps("""
        @workflow.step(approval_required=True)
        def two(context):
            return 2
    """)
    running = project.start("run")
    asked = running.until("approval.requested")
    assert "wrote nothing" in asked["title"] and asked["evidence"] == {"output": "2", "writes": 0}, asked
    project.call("approvals", "approve", asked["approval_id"])
    assert running.finish().code == 0

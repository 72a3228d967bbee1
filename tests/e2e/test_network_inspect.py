"""Requests over TLS that are looked at, and secrets that steps never hold.

The hosts are real TLS servers on 127.0.0.2; the authority that vouches for them is named by `ca_file`.
"""

import base64
import http.server
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from model import MockModel
from project import Done, Project
from test_network import Server

VALUE = "the-real-value-of-it"


class Echo(Server):
    """A server that says what it was sent, in two parts with a secret across them."""

    def __init__(self, tls: Path) -> None:
        super().__init__(tls)
        self.headers: list[dict[str, str]] = []
        outer = self

        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            outer.seen.append(handler.path)
            outer.headers.append({name.lower(): value for name, value in handler.headers.items()})
            length = int(handler.headers.get("Content-Length") or 0)
            handler.rfile.read(length)
            said = json.dumps(outer.headers[-1]).encode()
            handler.send_response(200)
            handler.send_header("X-Echo", handler.headers.get("Authorization") or "none")
            handler.send_header("Content-Length", str(len(said)))
            handler.end_headers()
            at = said.find(VALUE.encode()) + 5
            handler.wfile.write(said[:at])
            handler.wfile.flush()
            handler.wfile.write(said[at:])

        made = self.server.RequestHandlerClass
        made.do_GET = made.do_POST = made.do_DELETE = answer


@pytest.fixture
def host(authority: Path) -> Iterator[Echo]:
    made = Echo(authority / "host.pem")
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def looking(project: Project, authority: Path, host: Echo) -> Project:
    """A project with a secret of the host; the environment has its value."""
    project.environment["REAL_TOKEN"] = VALUE
    project.write_settings(f"""
        [sandbox]
        allow_hosts = ["https://{host.at}"]
        ca_file = "{authority / "ca.pem"}"

        [secrets.api]
        env = "API_TOKEN"
        value_env = "REAL_TOKEN"
        hosts = ["{host.at}"]
        headers = ["authorization", "x-api-key"]
        query = ["key"]
    """)
    return project


STEPS = """
    import urllib.request, urllib.error

    def ask(url, headers={}, data=None, method=None):
        request = urllib.request.Request(url, headers=headers, data=data, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return f"{answer.status} {answer.headers['X-Echo']} {answer.read().decode()}"
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.reason} {error.read().decode()}"
        except urllib.error.URLError as error:
            return f"failed {error.reason}"

    @workflow.step
    def use(context):
        token = os.environ["API_TOKEN"]
        at = context.inputs["at"]
        return [token, ask(f"https://{at}/x", {"Authorization": f"Bearer {token}"}), ask(f"https://{at}/y?key={token}")]
"""


def outputs(done: Done) -> list[str]:
    assert done.code == 0, done
    [said] = [step["output"] for step in done.of("step.succeeded")]
    return said


def nowhere(project: Project, done: Done) -> None:
    """The value is in no event, no output, no file of the data folder, and not in what wflo says."""
    assert VALUE not in done.out + done.err
    for path in (project.folder / ".wflo").rglob("*"):
        if path.is_file():
            assert VALUE.encode() not in path.read_bytes(), path


def test_a_step_uses_a_secret_that_it_never_holds(looking: Project, host: Echo) -> None:
    looking.steps(STEPS)
    done = looking.run("--input", f"at={host.at}")
    token, first, second = outputs(done)
    assert token != VALUE and token.startswith("wflo-"), token
    assert host.headers[0]["authorization"] == f"Bearer {VALUE}"
    assert host.seen == ["/x", f"/y?key={VALUE}"]
    assert first.startswith("200 [redacted] ") and "[redacted]" in first[20:], first
    assert second.startswith("200"), second
    opened = done.of("egress.opened")
    assert [(event["way"], event["request"], event["secrets"]) for event in opened] == [
        ("https", "GET /x", ["api"]),
        ("https", "GET /y", ["api"]),
    ]
    nowhere(looking, done)
    # Another run holds another placeholder.
    assert outputs(looking.run("--input", f"at={host.at}"))[0] != token


def test_curl_and_basic_authentication_work_unchanged(looking: Project, host: Echo) -> None:
    looking.steps("""
        import subprocess

        @workflow.step
        def fetch(context):
            user = f"me:{os.environ['API_TOKEN']}"
            done = subprocess.run(["curl", "-sS", "-u", user, f"https://{context.inputs['at']}/c"], capture_output=True)
            return [done.stdout.decode(), done.stderr.decode()]
    """)
    done = looking.run("--input", f"at={host.at}")
    said, errors = outputs(done)
    assert errors == "" and "[redacted]" in said, (said, errors)
    pair = base64.b64decode(host.headers[0]["authorization"].split()[1]).decode()
    assert pair == f"me:{VALUE}"
    nowhere(looking, done)


def test_a_placeholder_sent_anywhere_else_is_refused_and_told(looking: Project, host: Echo, authority: Path) -> None:
    other = Echo(authority / "host.pem")
    plain = Server()
    looking.settings = looking.settings.replace(
        f'allow_hosts = ["https://{host.at}"]',
        f'allow_hosts = ["https://{host.at}", "https://{other.at}", "http://{plain.at}"]\n'
        f'inspect_hosts = ["{other.at}"]',
    )
    looking.write_settings()
    looking.steps(
        STEPS.replace("use(context)", "misuse(context)").replace(
            'return [token, ask(f"https://{at}/x", {"Authorization": f"Bearer {token}"}), ask(f"https://{at}/y?key={token}")]',
            """bearer = {"Authorization": f"Bearer {token}"}
        return [
            ask(f"https://{context.inputs['other']}/", bearer),
            ask(f"http://{context.inputs['plain']}/", bearer),
            ask(f"https://{at}/{token}"),
            ask(f"https://{at}/?other={token}"),
            ask(f"https://{at}/", {"Cookie": token}),
            ask(f"https://{at}/", data=token.encode()),
        ]""",
        )
    )
    done = looking.run("--input", f"at={host.at}", "--input", f"other={other.at}", "--input", f"plain={plain.at}")
    for said in outputs(done):
        assert said.startswith("403") and "WFLO-5211" in said, said
    told = done.of("egress.refused") + done.of("egress.closed", end="refused")
    assert {event["error"]["code"] for event in told} == {"WFLO-5211"}, told
    assert plain.seen == [] and other.seen == []
    nowhere(looking, done)
    for server in (other, plain):
        server.server.shutdown()
        server.server.server_close()


def test_methods_and_paths_of_tls_are_held_to(project: Project, authority: Path, host: Echo) -> None:
    project.write_settings(f"""
        [sandbox]
        allow_hosts = ["GET https://{host.at}/repos/**"]
        ca_file = "{authority / "ca.pem"}"
    """)
    project.steps(
        STEPS.replace("use(context)", "fetch(context)")
        .replace('token = os.environ["API_TOKEN"]', "")
        .replace(
            'return [token, ask(f"https://{at}/x", {"Authorization": f"Bearer {token}"}), ask(f"https://{at}/y?key={token}")]',
            'return [ask(f"https://{at}/repos/x"), ask(f"https://{at}/admin"), ask(f"https://{at}/repos/x", method="DELETE")]',
        )
    )
    done = project.run("--input", f"at={host.at}")
    said = outputs(done)
    assert said[0].startswith("200") and said[1].startswith("403") and said[2].startswith("403"), said
    assert host.seen == ["/repos/x"]
    # Without the company's authority nobody vouches for the host.
    project.settings = project.settings.replace("ca_file", "# ca_file")
    project.write_settings()
    said = outputs(project.run("--input", f"at={host.at}"))
    assert said[0].startswith("502") and "WFLO-5214" in said[0], said


def test_a_model_is_not_told_a_placeholder(looking: Project, model: MockModel) -> None:
    looking.steps("""
        @workflow.step
        async def tell(context):
            try:
                ask = [{"role": "user", "content": f"my token is {os.environ['API_TOKEN']}"}]
                await context.llm.chat(model="m", messages=ask, max_tokens=5)
            except Exception as error:
                return str(error)
    """)
    done = looking.run()
    [said] = [step["output"] for step in done.of("step.succeeded")]
    assert "WFLO-5211" in said or "placeholder" in said, said
    assert not model.asked(), "nothing was sent"
    [refused] = done.of("egress.refused")
    assert refused["error"]["code"] == "WFLO-5211", refused


def test_a_project_cannot_send_what_it_was_not_trusted_with(looking: Project, host: Echo) -> None:
    looking.steps(STEPS)
    done = looking.run("--input", f"at={host.at}", WFLO_TRUST="0")
    assert done.code == 2 and "WFLO-8016" in done.out + done.err, done
    # A variable that is passed on as it is would be the value.
    looking.settings = looking.settings.replace("[sandbox]", '[sandbox]\nenv = ["REAL_TOKEN"]')
    looking.write_settings()
    done = looking.run("--input", f"at={host.at}")
    assert done.code == 2 and "WFLO-8004" in done.out + done.err, done


def test_a_secret_that_cannot_be_had_fails_the_step_and_says_so(looking: Project, host: Echo) -> None:
    looking.steps(STEPS)
    looking.environment.pop("REAL_TOKEN")
    done = looking.run("--input", f"at={host.at}")
    assert done.code == 1 and "WFLO-5216" in done.out, done


def test_a_command_of_sandbox_exec_is_held_to_paths(project: Project) -> None:
    rule = "GET https://api.example.invalid/repos/**"
    curl = ["curl", "-sS", "-w", "%{http_code}", "https://api.example.invalid/admin"]
    done = project.call("sandbox", "exec", "--allow-host", rule, "--", *curl)
    assert done.out.endswith("403") and "WFLO-5202" in done.out + done.err, done

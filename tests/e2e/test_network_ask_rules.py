"""Hosts and requests that a rule says people are asked about: they are, although another rule allows them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import Done, Project, Running
from test_network import Server

STEPS = """
    import http.client

    def get(host, path="/"):
        name, port = os.environ["HTTP_PROXY"].split("//")[1].split(":")
        proxy = http.client.HTTPConnection(name, int(port))
        proxy.request("GET", f"http://{host}{path}", headers={"Host": host, "Connection": "close"})
        answer = proxy.getresponse()
        return f"{answer.status} {answer.read().decode().splitlines()[0]}"

    @workflow.step
    def fetch(context):
        return [get(context.inputs["host"], path) for path in context.inputs["paths"]]
"""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def asking(project: Project, tmp_path: Path) -> Project:
    """A project whose user keeps what is said for always in a folder of the test."""
    project.environment["XDG_STATE_HOME"] = str(tmp_path / "state")
    project.steps(STEPS)
    return project


def start(project: Project, server: Server, *more: str, paths: tuple[str, ...] = ("/x",)) -> Running:
    given = ["--input", f"host={server.at}", "--input", f"paths={json.dumps(paths)}"]
    return project.start("run", *given, *more)


def said(done: Done) -> list[str]:
    assert done.code == 0, done
    [answers] = [step["output"] for step in done.of("step.succeeded")]
    return answers


@pytest.mark.parametrize("how", ["settings", "flag"])
def test_an_allowed_host_is_asked_about_where_a_rule_says_so(asking: Project, server: Server, how: str) -> None:
    flags = ["--allow-host", server.at]
    if how == "flag":
        flags += ["--ask-host", server.at]
    else:
        asking.write_settings(f'[sandbox]\nask_hosts = ["{server.at}"]\n')
    running = start(asking, server, *flags, paths=("/a", "/b", "/c"))
    asked = running.until("approval.requested")
    assert (asked["purpose"], asked["rule"]) == ("host", f"http://{server.at}"), asked
    assert server.seen == [], "the connection waits"
    shown = asking.call("approvals", "show", asked["approval_id"])
    assert server.at in shown.out and "GET /a" in shown.out, shown
    for how_long in ("once", "run"):
        assert asking.call("approvals", "approve", asked["approval_id"], "--for", how_long).code == 0
        if how_long == "once":
            asked = running.until("approval.requested")
    done = running.finish()
    assert said(done) == ["200 hello"] * 3 and len(done.of("approval.requested")) == 2, done
    # Another run asks anew, and a no is a no for the run.
    running = start(asking, server, *flags, paths=("/a", "/b"))
    asked = running.until("approval.requested")
    assert asking.call("approvals", "reject", asked["approval_id"]).code == 0
    refused = said(running.finish())
    assert all(line.startswith("403") and "WFLO-5209" in line for line in refused), refused
    assert len(server.seen) == 3


def test_a_request_is_asked_about_and_the_rest_of_its_host_is_not(asking: Project, server: Server) -> None:
    rule = f"GET http://{server.at}/v1/**"
    running = start(asking, server, "--allow-host", server.at, "--ask-host", rule, paths=("/x", "/v1/a", "/y", "/v1/b"))
    asked = running.until("approval.requested")
    assert asked["rule"] == rule and server.seen == ["/x"], asked
    assert asking.call("approvals", "reject", asked["approval_id"]).code == 0
    answers = said(running.finish())
    assert [answer[:3] for answer in answers] == ["200", "403", "200", "403"], answers
    assert server.seen == ["/x", "/y"]


def test_always_is_remembered_and_never_beats_the_question(asking: Project, server: Server) -> None:
    flags = ["--allow-host", server.at, "--ask-host", server.at]
    running = start(asking, server, *flags)
    asked = running.until("approval.requested")
    assert asking.call("approvals", "approve", asked["approval_id"], "--for", "always").code == 0
    assert said(running.finish()) == ["200 hello"]
    done = start(asking, server, *flags).finish()
    assert said(done) == ["200 hello"] and not done.of("approval.requested"), done
    assert asking.call("egress", "forget", f"http://{server.at}").code == 0
    running = start(asking, server, *flags)
    asked = running.until("approval.requested")
    assert asking.call("approvals", "reject", asked["approval_id"], "--for", "always").code == 0
    assert "WFLO-5209" in said(running.finish())[0]
    done = start(asking, server, *flags).finish()
    assert "WFLO-5209" in said(done)[0] and not done.of("approval.requested"), done


def test_nobody_there_is_a_no(asking: Project, server: Server) -> None:
    asking.write_settings('[sandbox]\nask_timeout_seconds = "1s"\n')
    done = start(asking, server, "--allow-host", server.at, "--ask-host", server.at).finish()
    assert "WFLO-5209" in said(done)[0] and server.seen == [], done


def test_other_hosts_are_refused_without_a_question(asking: Project, server: Server) -> None:
    done = start(asking, server, "--ask-host", "api.example.org").finish()
    assert "WFLO-5202" in said(done)[0] and not done.of("approval.requested"), done


@pytest.mark.parametrize("how_long", ["once", "run", "always"])
def test_a_yes_to_a_host_opens_no_part_that_a_narrower_rule_leaves_closed(
    asking: Project, server: Server, how_long: str
) -> None:
    flags = ["--allow-host", f"GET http://{server.at}/v1/**", "--ask-host", server.at]
    running = start(asking, server, *flags, paths=("/v1/a", "/x", "/v1/b"))
    for _ in range(3 if how_long == "once" else 1):
        asked = running.until("approval.requested")
        assert asked["rule"] == f"http://{server.at}", asked
        assert asking.call("approvals", "approve", asked["approval_id"], "--for", how_long).code == 0
    answers = said(running.finish())
    assert [answer[:3] for answer in answers] == ["200", "403", "200"], answers
    assert server.seen == ["/v1/a", "/v1/b"]
    if how_long == "always":
        answers = said(start(asking, server, *flags, paths=("/v1/a", "/x")).finish())
        assert [answer[:3] for answer in answers] == ["200", "403"], answers


def test_never_to_a_part_is_never_to_that_part_where_nobody_is_asked(asking: Project, server: Server) -> None:
    rule = f"GET http://{server.at}/v1/**"
    running = start(asking, server, "--allow-host", server.at, "--ask-host", rule, paths=("/x", "/v1/a"))
    asked = running.until("approval.requested")
    assert asking.call("approvals", "reject", asked["approval_id"], "--for", "always").code == 0
    assert [answer[:3] for answer in said(running.finish())] == ["200", "403"]
    done = start(asking, server, "--allow-host", server.at, paths=("/x", "/v1/a", "/V1/a", "/y")).finish()
    answers = said(done)
    assert [answer[:3] for answer in answers] == ["200", "403", "403", "200"], answers
    assert "WFLO-5209" in answers[1] and not done.of("approval.requested"), done


@pytest.mark.parametrize("asks", ["rule", "hosts"])
def test_a_retry_takes_over_no_answer_that_was_forgotten(asking: Project, server: Server, asks: str) -> None:
    if asks == "hosts":
        server = Server(host="127.0.0.1")
    if asks == "rule":
        flags = ["--allow-host", server.at, "--ask-host", server.at]
    else:
        # A name: an address of this machine is never asked about.
        asking.write_settings('[sandbox]\nallow_addresses = ["127.0.0.0/8", "::1"]\n')
        flags = ["--ask-hosts"]
        server.at = server.at.replace("127.0.0.1", "localhost")
    running = start(asking, server, *flags)
    asked = running.until("approval.requested")
    assert asking.call("approvals", "approve", asked["approval_id"], "--for", "always").code == 0
    assert said(running.finish()) == ["200 hello"]
    done = start(asking, server, *flags).finish()
    assert not done.of("approval.requested"), done
    again = ("runs", "retry", done.run["id"], "--from", "fetch")
    assert not asking.start(*again).finish().of("approval.requested"), "it is remembered"
    assert asking.call("egress", "forget", server.at).code == 0
    running = asking.start(*again)
    asked = running.until("approval.requested")
    assert asking.call("approvals", "reject", asked["approval_id"]).code == 0
    assert "WFLO-5209" in said(running.finish())[0]


def recorded(project: Project, server: Server, *flags: str) -> str:
    """A run that is not driven yet, so that things can be said to it before it reaches anything."""
    given = ["--input", f"host={server.at}", "--input", 'paths=["/x"]']
    done = project.call("run", "--no-drive", "--json", *given, *flags)
    assert done.code == 0, done
    return done.events[-1]["run_id"]


def again(project: Project, run: str) -> Done:
    return project.start("runs", "retry", run, "--from", "fetch").finish()


def test_a_retry_keeps_out_what_was_denied_to_its_run(asking: Project, server: Server) -> None:
    run = recorded(asking, server, "--allow-host", server.at)
    assert asking.call("egress", "deny", run, server.at).code == 0
    assert "WFLO-5209" in said(asking.start("runs", "resume", run).finish())[0]
    # Also the retry of a retry, until somebody says otherwise.
    for _ in range(2):
        done = again(asking, run)
        assert "WFLO-5209" in said(done)[0] and server.seen == [], done
        run = done.run["id"]
    listed = asking.call("egress", "list", run, "--json").events
    assert (server.at, False, "retried") in [(line["host"], line["allowed"], line["from"]) for line in listed], listed


def test_a_retry_lets_in_what_was_let_in_unasked(asking: Project, server: Server) -> None:
    run = recorded(asking, server, "--allow-host", "api.example.org")
    assert asking.call("egress", "allow", run, server.at).code == 0
    assert said(asking.start("runs", "resume", run).finish()) == ["200 hello"]
    done = again(asking, run)
    assert said(done) == ["200 hello"], done
    # Whoever retries it agrees to it, as to what the command line allows.
    asking.environment.pop("WFLO_TRUST")
    refused = asking.call("runs", "retry", done.run["id"], "--from", "fetch", "--json")
    assert refused.code != 0 and server.at in refused.out + refused.err, refused
    assert server.seen == ["/x", "/x"]


def test_a_retry_reaches_what_was_allowed_by_hand_and_else_what_the_settings_of_today_say(
    asking: Project, server: Server
) -> None:
    before = asking.settings
    asking.write_settings(f'[sandbox]\nallow_hosts = ["{server.at}"]\n')
    by_settings = start(asking, server).finish()
    by_hand = start(asking, server, "--allow-host", server.at).finish()
    assert said(by_settings) == said(by_hand) == ["200 hello"]
    asking.settings = before
    asking.write_settings('[sandbox]\nallow_hosts = ["api.example.org"]\n')
    refused = said(again(asking, by_settings.run["id"]))[0]
    assert refused.startswith("403") and "WFLO-5202" in refused, refused
    done = again(asking, by_hand.run["id"])
    assert said(done) == ["200 hello"]
    assert said(again(asking, done.run["id"])) == ["200 hello"], "it stays by hand"

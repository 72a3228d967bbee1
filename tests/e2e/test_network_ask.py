"""Hosts that nobody has named: people are asked, the connection waits, and what they say holds as long as they say.

The host is `localhost` as wflo's own resolver knows it. Clients inside take that name for the sandbox's own, so the
steps speak to the proxy themselves.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from project import Done, Project, Running
from terminal import Terminal
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
        return [get(host) for host in context.inputs["hosts"]]
"""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(host="127.0.0.1")
    made.at = made.at.replace("127.0.0.1", "localhost")
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def asking(project: Project, tmp_path: Path) -> Project:
    """A project whose user keeps what is said for always in a folder of the test."""
    project.environment["XDG_STATE_HOME"] = str(tmp_path / "state")
    project.steps(STEPS)
    project.write_settings("""
        [sandbox]
        unknown_hosts = "ask"
        allow_addresses = ["127.0.0.0/8", "::1"]
    """)
    return project


def start(project: Project, *hosts: str) -> Running:
    return project.start("run", "--input", f"hosts={json.dumps(hosts)}")


def said(done: Done) -> list[str]:
    assert done.code == 0, done
    [answers] = [step["output"] for step in done.of("step.succeeded")]
    return answers


def test_a_host_is_asked_about_and_reached_for_as_long_as_is_said(asking: Project, server: Server) -> None:
    running = start(asking, server.at, server.at, server.at)
    asked = running.until("approval.requested")
    assert (asked["purpose"], asked["rule"]) == ("host", f"http://{server.at}"), asked
    assert server.seen == [], "the connection waits"
    shown = asking.call("approvals", "show", asked["approval_id"])
    assert server.at in shown.out and "GET /" in shown.out, shown
    for how_long in ("once", "run"):
        done = asking.call("approvals", "approve", asked["approval_id"], "--for", how_long)
        assert done.code == 0, done
        if how_long == "once":
            asked = running.until("approval.requested")
    done = running.finish()
    assert said(done) == ["200 hello"] * 3
    assert len(done.of("approval.requested")) == 2, "the last connection is what the run was told"
    listed = asking.call("egress", "list", done.run["id"], "--json").events
    assert [(line["host"], line["allowed"], line["from"]) for line in listed] == [
        (f"http://{server.at}", True, "question")
    ]
    # Another run asks anew: this one was told of itself alone.
    running = start(asking, server.at)
    asked = running.until("approval.requested")
    assert asking.call("approvals", "reject", asked["approval_id"]).code == 0
    [refused] = said(running.finish())
    assert refused.startswith("403") and "WFLO-5209" in refused, refused


def test_whoever_sits_at_the_terminal_is_asked_there(asking: Project, server: Server) -> None:
    with Terminal(asking, "run", "--input", f'hosts=["{server.at}", "{server.at}"]') as screen:
        screen.until("Let it? [once/run/always/no/never]")
        assert f"wants to reach http://{server.at}" in screen.text and "GET /" in screen.text, screen.text
        assert server.seen == []
        screen.type("perhaps")
        screen.until("Let it?", times=2)
        screen.type("run")
        assert screen.end() == 0, screen.text
    assert server.seen == ["/", "/"]


def test_a_program_that_is_ended_at_a_question_does_not_go_on_without_an_answer(
    asking: Project, server: Server
) -> None:
    script = f"echo begun; curl -sS --noproxy '' http://{server.at}/ && echo reached || echo without it"
    with Terminal(asking, "run", "--ask-hosts", "--", "sh", "-c", script) as screen:
        screen.until("Let it? [once/run/always/no/never]")
        screen.interrupt()
        assert screen.end() != 0, screen.text
        assert "begun" in screen.text and "without it" not in screen.text, screen.text
    # Asked again where it goes on, before its program has the terminal.
    with Terminal(asking, "runs", "resume", "latest") as screen:
        screen.until("Let it? [once/run/always/no/never]")
        screen.type("run")
        screen.until("reached")
        assert screen.end() == 0, screen.text
    assert server.seen == ["/"]


def test_always_and_never_are_the_users_and_of_the_project(asking: Project, server: Server) -> None:
    running = start(asking, server.at)
    asked = running.until("approval.requested")
    asking.call("approvals", "approve", asked["approval_id"], "--for", "always")
    assert said(running.finish()) == ["200 hello"]
    again = asking.run("--input", f'hosts=["{server.at}"]')
    assert said(again) == ["200 hello"] and not again.of("approval.requested")
    assert not list(asking.folder.rglob("hosts")), "nothing of it is in the project"
    # Without being asked nobody has answered: what was said for always is no rule.
    rule = f"http://{server.at}"
    assert asking.call("egress", "list", "--json").events[0]["host"] == rule
    assert asking.call("egress", "forget", rule).code == 0
    running = start(asking, server.at)
    asked = running.until("approval.requested")
    asking.call("approvals", "reject", asked["approval_id"], "--for", "always")
    assert "WFLO-5209" in said(running.finish())[0]
    # Kept out for always: also where the settings of the project name it.
    named = asking.run("--input", f'hosts=["{server.at}"]', "--allow-host", server.at)
    assert "WFLO-5209" in said(named)[0] and not named.of("approval.requested"), named


def test_never_is_kept_by_a_run_that_was_recorded_before(asking: Project, server: Server) -> None:
    recorded = asking.call(
        "run", "--no-drive", "--json", "--allow-host", server.at, "--input", f'hosts=["{server.at}"]'
    )
    run = recorded.events[-1]["run_id"]
    running = start(asking, server.at)
    asked = running.until("approval.requested")
    asking.call("approvals", "reject", asked["approval_id"], "--for", "always")
    running.finish()
    listed = asking.call("egress", "list", run, "--json").events
    assert (f"http://{server.at}", False, "always") in [
        (line["host"], line["allowed"], line["from"]) for line in listed
    ]
    for verb in ("resume", "retry"):
        done = asking.call("runs", verb, run, "--json")
        assert "WFLO-5209" in said(done)[0] and server.seen == [], done


def test_nobody_there_is_a_no_and_no_further_host_waits(asking: Project, server: Server) -> None:
    asking.write_settings('ask_timeout_seconds = "1s"\n')
    other = server.at.replace("localhost", "localhost.localdomain")
    done = asking.run("--input", f'hosts=["{server.at}", "{other}"]')
    answers = said(done)
    assert all(answer.startswith("403") and "WFLO-5209" in answer for answer in answers), answers
    assert len(done.of("approval.requested")) == 1, "the second host is refused at once"
    [decided] = done.of("approval.decided")
    assert decided["by"] == "timeout" and server.seen == [], decided


def test_a_run_that_is_killed_knows_what_was_said_and_asks_what_was_not(asking: Project, server: Server) -> None:
    asking.steps(
        STEPS
        + """
    @workflow.step(depends_on=["fetch"])
    def more(context):
        return [get(host) for host in context.inputs["more"]]
"""
    )
    other = server.at.replace("localhost", "localhost.localdomain")
    inputs = ("--input", f'hosts=["{server.at}"]', "--input", f'more=["{server.at}", "{other}"]')
    running = asking.start("run", *inputs)
    asked = running.until("approval.requested")
    # Killed with its question open: it is the same one afterwards.
    running.kill()
    run = running.finish().events[0]["run_id"]
    resumed = asking.start("runs", "resume", run)
    resumed.until("step.started")
    asking.call("approvals", "approve", asked["approval_id"])
    second = resumed.until("approval.requested", rule=f"http://{other}")
    # Killed after an answer: the run knows it, and nobody is asked again.
    resumed.kill()
    resumed.finish()
    resumed = asking.start("runs", "resume", run)
    resumed.until("step.started")
    asking.call("approvals", "reject", second["approval_id"])
    done = resumed.finish()
    assert done.code == 0, done
    events = asking.events(run)
    questions = [event["rule"] for event in events if event["type"] == "approval.requested"]
    assert questions == [f"http://{server.at}", f"http://{other}"], questions
    [answers] = [event["output"] for event in events if event["type"] == "step.succeeded" and event["step"] == "more"]
    assert answers[0] == "200 hello" and "WFLO-5209" in answers[1], answers


@pytest.mark.usefixtures("failpoints")
def test_a_question_that_nobody_was_told_of_is_put_once(asking: Project, server: Server) -> None:
    inputs = ("--input", f'hosts=["{server.at}"]')
    killed = asking.start("run", *inputs, WFLO_FAILPOINT="egress.asked")
    done = killed.finish()
    assert done.code != 0 and server.seen == []
    run = done.events[0]["run_id"]
    resumed = asking.start("runs", "resume", run)
    resumed.until("step.started")
    [waiting] = asking.call("approvals", "list", "--json").events
    assert asking.call("approvals", "approve", waiting["id"]).code == 0
    assert resumed.finish().code == 0
    questions = [event for event in asking.events(run) if event["type"] == "approval.requested"]
    assert len(questions) == 1 and server.seen == ["/"]


def test_rules_change_while_the_step_runs(asking: Project, server: Server) -> None:
    asking.steps("""
        import socket

        @workflow.step
        def hold(context):
            name, port = os.environ["HTTP_PROXY"].split("//")[1].split(":")
            def connect():
                proxy = socket.create_connection((name, int(port)))
                at = context.inputs["at"]
                proxy.sendall(f"CONNECT {at} HTTP/1.1\\r\\nHost: {at}\\r\\n\\r\\n".encode())
                return proxy, proxy.recv(4096).split(b"\\r\\n")[0].decode()
            first, said = connect()
            print("open", flush=True)
            ended = first.recv(1)
            return [said, ended.decode(), connect()[1]]
    """)
    rule = f"tcp://{server.at}"
    running = asking.start("run", "--input", f"at={server.at}", "--allow-host", rule)
    running.until("log", message="open")
    done = asking.call("egress", "deny", "latest", server.at)
    assert done.code == 0, done
    done = running.finish()
    first, ended, second = said(done)
    assert first.startswith("HTTP/1.1 200") and ended == "" and "WFLO-5209" in second, done
    [changed] = done.of("egress.changed")
    assert changed["by"].startswith("local:") and not changed["allowed"], changed
    [closed] = done.of("egress.closed")
    assert closed["error"]["code"] == "WFLO-5209", closed
    refused = asking.call("egress", "deny", "latest", "https://a.example/x/**")
    assert refused.code == 2 or "WFLO-5210" in refused.err, refused


def test_a_host_is_let_in_while_its_connection_waits(asking: Project, server: Server) -> None:
    running = start(asking, server.at, server.at)
    running.until("approval.requested")
    done = asking.call("egress", "allow", "latest", server.at)
    assert done.code == 0, done
    done = running.finish()
    assert said(done) == ["200 hello"] * 2 and len(done.of("approval.requested")) == 1
    unseen = asking.call("egress", "allow", "latest", "GET https://a.example/x/**")
    assert unseen.code != 0, "nothing looks into this run's TLS"
    ended = asking.call("egress", "allow", "latest", server.at)
    assert ended.code != 0, "a run that has ended reaches nothing"


def test_a_step_that_began_without_a_way_out_is_said_to_have_none(project: Project) -> None:
    project.steps("""
    @workflow.step
    def sit(context):
        time.sleep(300)
    """)
    running = project.start("run")
    running.until("step.started")
    done = project.call("egress", "allow", "latest", "api.example.org")
    assert done.code == 0 and "has no way out: for it, this counts from its next attempt on" in done.err, done
    denied = project.call("egress", "deny", "latest", "other.example.org")
    assert denied.code == 0 and "no way out" not in denied.err, denied
    assert project.call("runs", "cancel", "latest").code == 0
    running.finish()


def test_of_answers_at_the_same_moment_one_counts_and_the_others_are_told(asking: Project, server: Server) -> None:
    rule = f"http://{server.at}"
    for _ in range(3):
        running = start(asking, server.at)
        asked = running.until("approval.requested")["approval_id"]
        words = [("approve", "run"), ("reject", "always"), ("approve", "always"), ("reject", "run")] * 2
        with ThreadPoolExecutor(len(words)) as people:
            calls = [
                people.submit(asking.call, "approvals", verb, asked, "--for", how_long) for verb, how_long in words
            ]
            done = [call.result() for call in calls]
        counted = [word for word, one in zip(words, done, strict=True) if one.code == 0]
        assert len(counted) == 1, done
        assert all("WFLO-7001" in one.err for one in done if one.code != 0), done
        [(verb, how_long)] = counted
        [answer] = said(running.finish())
        assert answer.startswith("200" if verb == "approve" else "403"), (counted, answer)
        kept = {line["host"]: line["allowed"] for line in asking.call("egress", "list", "--json").events}
        assert kept == ({rule: verb == "approve"} if how_long == "always" else {}), (counted, kept)
        asking.call("egress", "forget", rule)

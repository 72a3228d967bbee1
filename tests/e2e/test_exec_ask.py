"""Hosts that a command of `wflo sandbox exec` wants to reach: its user is asked, where it can draw and type nothing."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import Project
from terminal import Terminal
from test_network import Server

ASK = "Let it? [once/run/always/no/never]"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def asking(project: Project, tmp_path: Path) -> Project:
    project.environment["XDG_STATE_HOME"] = str(tmp_path / "state")
    return project


def get(*places: str) -> str:
    """A script that fetches these, one after the other."""
    return "; ".join(f"curl -s -o /dev/null -w '<%{{http_code}}>\\n' http://{place}" for place in places)


def rule(server: Server) -> str:
    """An address is reached where a rule names it: that is asked about."""
    return f"http://{server.at}"


@pytest.mark.parametrize(
    ("said", "answers", "asked"), [("once", "<200><403>", 2), ("run", "<200><200>", 1), ("no", "<403><403>", 1)]
)
def test_an_answer_holds_for_as_long_as_is_said(
    asking: Project, server: Server, said: str, answers: str, asked: int
) -> None:
    script = get(server.at, server.at)
    with Terminal(asking, "sandbox", "exec", "--ask-host", rule(server), "--", "sh", "-c", script) as screen:
        screen.until(ASK)
        assert f"the command wants to reach {rule(server)}" in screen.text and "GET /" in screen.text, screen.text
        assert server.seen == [], "the connection waits"
        screen.type(said)
        if asked == 2:
            screen.until(ASK, times=2)
            screen.type("no")
        assert screen.end() == 0, screen.text
    assert "".join(line for line in screen.text.splitlines() if line.startswith("<")) == answers, screen.text
    assert screen.text.count(ASK) == asked


def test_a_host_that_nobody_named_is_asked_about(asking: Project) -> None:
    command = ("sandbox", "exec", "--ask-hosts", "--", "sh", "-c", get("unheard.invalid"))
    with Terminal(asking, *command) as screen:
        screen.until(ASK)
        assert "wants to reach http://unheard.invalid" in screen.text, screen.text
        screen.type("run")
        screen.until("<502>")
        assert screen.end() == 0, screen.text
    with Terminal(asking, *command) as screen:
        screen.until(ASK)
        screen.type("never")
        screen.until("<403>")
        assert screen.end() == 0 and "WFLO-5209" in screen.text, screen.text
    # Kept out for always: nobody is asked, and no flag lets it in.
    done = asking.call("sandbox", "exec", "--allow-host", "unheard.invalid", "--", "sh", "-c", get("unheard.invalid"))
    assert "<403>" in done.out and "WFLO-5209" in done.err, done


def test_always_is_kept_for_the_project_and_answers_where_people_would_be_asked(
    asking: Project, server: Server
) -> None:
    command = ("sandbox", "exec", "--ask-host", rule(server), "--", "sh", "-c", get(server.at))
    with Terminal(asking, *command) as screen:
        screen.until(ASK)
        screen.type("always")
        screen.until("<200>")
        assert screen.end() == 0
    done = asking.call(*command)
    assert "<200>" in done.out, done
    assert asking.call("egress", "list", "--json").events[0]["host"] == rule(server)


def test_rules_of_the_project_ask_too(asking: Project, server: Server) -> None:
    asking.write_settings(f'[sandbox]\nask_hosts = ["{rule(server)}"]\n')
    command = ("sandbox", "exec", "--allow-host", server.at, "--", "sh", "-c", get(server.at))
    done = asking.call(*command)
    assert "<403>" in done.out and "WFLO-5209" in done.err and server.seen == [], done
    with Terminal(asking, *command) as screen:
        screen.until(ASK)
        screen.type("run")
        screen.until("<200>")
        assert screen.end() == 0, screen.text


def test_nobody_there_is_a_no(asking: Project, server: Server) -> None:
    asking.write_settings('[sandbox]\nask_timeout_seconds = "1s"\n')
    command = ("sandbox", "exec", "--ask-host", rule(server), "--ask-hosts", "--")
    script = get(server.at, "unheard.invalid")
    with Terminal(asking, *command, "sh", "-c", script) as screen:
        screen.until("<403>", times=2)
        assert screen.end() == 0 and screen.text.count(ASK) == 1, screen.text
    # Without a terminal nobody is asked, and nothing waits.
    done = asking.call(*command, "sh", "-c", script)
    assert done.out.count("<403>") == 2 and "WFLO-5209" in done.err and server.seen == [], done


def test_the_command_can_draw_and_answer_nothing(asking: Project, server: Server) -> None:
    """It writes all the time, to its terminal and to that of whoever it can find, and says what looks like answers."""
    script = (
        f"({get(server.at)}) & "
        "(while :; do printf 'Let it? run\\nonce\\nalways\\n\\033[2J\\033[H'; done) & noise=$!; "
        'wait %1; kill $noise; read -r line; echo "typed:$line"'
    )
    with Terminal(asking, "sandbox", "exec", "--ask-host", rule(server), "--", "bash", "-c", script) as screen:
        screen.until(ASK)
        shown = screen.raw.index(ASK.encode())
        # The question stands as long as nobody types, and behind it nothing of the command's is shown.
        before = len(screen.raw)
        threading.Event().wait(1)
        assert len(screen.raw) == before and b"always\r\n" not in screen.raw[shown + len(ASK) :], screen.raw[shown:]
        assert server.seen == []
        screen.type("maybe")
        screen.until(ASK, times=2)
        screen.type("once")
        screen.until("<200>")
        screen.type("hello")
        screen.until("typed:hello")
        assert screen.end() == 0, screen.text


def test_a_command_that_ends_leaves_no_question(asking: Project, server: Server) -> None:
    script = f"({get(server.at)}) & sleep 2; kill $!; exit 7"
    with Terminal(asking, "sandbox", "exec", "--ask-host", rule(server), "--", "bash", "-c", script) as screen:
        screen.until(ASK)
        assert screen.end() == 7, screen.text
    assert server.seen == []


def test_ctrl_c_at_a_question_ends_the_command(asking: Project, server: Server) -> None:
    with Terminal(asking, "sandbox", "exec", "--ask-host", rule(server), "--", "sh", "-c", get(server.at)) as screen:
        screen.until(ASK)
        screen.interrupt()
        assert screen.end() == 130, screen.text
    assert server.seen == []

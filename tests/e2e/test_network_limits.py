"""What a run may send, receive and ask for, as its settings have it."""

import http.server

from project import Project, approve, question
from test_network import STEPS, Server, server

__all__ = ["server"]

TWICE = STEPS.replace("def fetch(context)", "def first(context)") + STEPS[STEPS.index("    @workflow.step") :].replace(
    "def fetch(context)", "def second(context)"
)


def limit(project: Project, host: Server, network: str) -> None:
    project.settings = project.settings.partition("\n[sandbox]")[0]
    project.write_settings(f"""
        [sandbox]
        allow_hosts = ["{host.at}"]
        network = {{ {network} }}
    """)


def test_a_program_is_cut_off_and_told_by_which_limit(project: Project, server: Server) -> None:
    limit(project, server, "requests = 2")
    ask = f"for i in 1 2 3 4; do curl -s -o /dev/null -w '%{{http_code}} ' http://{server.at}/$i; done"
    done = project.call("run", "--", "sh", "-c", ask)
    assert done.out == "200 200 429 429 ", done
    assert server.seen == ["/1", "/2"]
    for said in (done.err, project.call("runs", "show").out):
        text = " ".join(said.split())
        assert "refused no further connection may be made: 2 have been" in text.lower() and "[WFLO-5206]" in text, said
        assert "raise `requests` under [sandbox.network] in wflo.toml" in text, said
    [refused] = [event for event in project.events("latest") if event["type"] == "egress.refused"]
    assert refused["error"]["code"] == "WFLO-5206", refused


def test_what_is_sent_is_cut_off_and_recorded(project: Project, server: Server) -> None:
    def do_PUT(handler: http.server.BaseHTTPRequestHandler) -> None:
        while handler.rfile.read(1 << 16):
            pass

    server.server.RequestHandlerClass.do_PUT = do_PUT  # type: ignore[attr-defined]
    limit(project, server, 'sent = "64k"')
    send = f"head -c 1000000 /dev/zero | curl -s -o /dev/null -w '%{{http_code}}' -T - http://{server.at}/up"
    done = project.call("run", "--", "sh", "-c", send)
    assert "no more may be sent to hosts: 64k have been" in " ".join(done.err.split()), done
    [closed] = [event for event in project.events("latest") if event["type"] == "egress.closed"]
    assert closed["end"] == "refused" and closed["sent_bytes"] == 64 << 10, closed


def test_a_run_has_one_limit_for_all_its_steps_which_its_workflow_lowers(project: Project, server: Server) -> None:
    limit(project, server, "requests = 50")
    project.steps("    workflow.configure_sandbox(network={'requests': 3})\n" + TWICE)
    urls = f'urls=["http://{server.at}/a", "http://{server.at}/b"]'
    done = project.run("--input", urls)
    assert done.code == 0, done
    first, second = [step["output"] for step in done.of("step.succeeded")]
    assert first == ["hello", "hello"] and second[0] == "hello" and second[1].startswith("429 "), (first, second)
    # It lowers a limit and raises none.
    project.steps("    workflow.configure_sandbox(network={'requests': 99})\n" + TWICE)
    limit(project, server, "requests = 1")
    done = project.run("--input", urls)
    first, second = [step["output"] for step in done.of("step.succeeded")]
    assert first[0] == "hello" and all(said.startswith("429 ") for said in [first[1], *second]), (first, second)


def test_a_resume_goes_on_where_the_run_was(project: Project, server: Server) -> None:
    limit(project, server, "requests = 3")
    step = STEPS.replace("def fetch", "async def fetch").replace(
        "        return said", "        await context.approve('go on?')\n        return said"
    )
    project.steps(step)
    running = project.start("run", "--input", f'urls=["http://{server.at}/a", "http://{server.at}/b"]')
    asked = question(running)
    assert server.seen == ["/a", "/b"]
    running.kill()
    running.finish()
    # The step runs again from its beginning, in another process.
    approve(project, asked)
    project.call("runs", "resume", asked["run_id"])
    [said] = [event["output"] for event in project.events(asked["run_id"]) if event["type"] == "step.succeeded"]
    assert said[0] == "hello" and said[1].startswith("429 "), said


def test_a_limit_that_is_none_is_refused_with_its_line(project: Project, server: Server) -> None:
    limit(project, server, "requests = 0")
    done = project.run()
    text = " ".join((done.out + done.err).split())
    assert done.code == 2 and "WFLO-8004" in text and "at least 1 and at most 1000000000" in text, done
    assert "leave allow_hosts out" in text, done

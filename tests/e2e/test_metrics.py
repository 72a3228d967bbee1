"""`/metrics` of a process that drives runs: for a scraper that reads by the letter."""

import random
import re
import socket
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from project import Project, Running, question, wait_for
from prometheus import Family, parse

TWO = """
    import os, time

    @workflow.step
    async def asks(context):
        answer = await context.llm.chat(model="m", messages=[{"role": "user", "content": "hi"}], max_tokens=5)
        return answer.text

    @workflow.step(timeout_seconds=600)
    def holds(context):
        held = bytearray(60 << 20)
        for at in range(0, len(held), 4096):
            held[at] = 1
        for _ in range(3):
            if os.fork() == 0:
                time.sleep(1000)
        print("holding", flush=True)
        time.sleep(1000)
"""


def address(running: Running) -> str:
    """Where it says that it serves."""
    found: list[str] = []

    def said() -> bool:
        found.extend(re.findall(r"metrics at (http://\S+/metrics)", running.err))
        return bool(found)

    wait_for(said, "it says where")
    return found[0]


def scrape(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4"), answer.headers
        return answer.read().decode()


def value(families: dict[str, Family], name: str, **labels: str) -> float:
    return families[name].value(name, **labels) if name in families else -1


def test_a_scraper_reads_what_runs_and_what_it_takes(project: Project) -> None:
    project.steps(TWO)
    running = project.start("run", "--metrics", "127.0.0.1:0", "--budget", "1.00")
    run = running.until("run.started")["run_id"]
    url = address(running)
    running.until("step.started", step="holds")
    families: dict[str, Family] = {}
    page = ""

    def holds() -> bool:
        nonlocal families, page
        page = scrape(url)
        families = parse(page)
        where = frozenset({("workflow", "e2e"), ("step", "holds")})
        now = [
            families[name].samples.get((name, where), 0) if name in families else 0
            for name in ("wflo_sandbox_memory_bytes", "wflo_sandbox_tasks")
        ]
        return now[0] >= 60 << 20 and now[1] >= 4

    wait_for(holds, "what the step holds is told")
    at = {"workflow": "e2e"}
    assert value(families, "wflo_runs", **at, status="running") == 1
    assert value(families, "wflo_steps_running", **at, step="holds") == 1
    assert value(families, "wflo_steps_total", **at, step="asks", status="completed") == 1
    assert value(families, "wflo_effects_total", **at, kind="llm", outcome="done") == 1
    cost = value(families, "wflo_cost_usd_total", **at, step="asks")
    assert 0 < cost < 1
    assert value(families, "wflo_budget_limit_usd", **at) == 1
    assert value(families, "wflo_budget_settled_usd", **at) == pytest.approx(cost)
    assert value(families, "wflo_approvals_waiting", **at) == 0
    assert value(families, "wflo_sandboxes", **at, step="holds") == 1
    assert value(families, "wflo_sandboxes", **at, step="asks") == 0
    assert value(families, "wflo_sandboxes_total", **at, step="asks") == 1
    assert value(families, "wflo_sandbox_cpu_seconds_total", **at, step="asks") > 0
    assert value(families, "wflo_sandbox_memory_peak_bytes", **at, step="holds") >= 60 << 20
    assert value(families, "wflo_engine_slots_used") == 1
    assert value(families, "process_resident_memory_bytes") > 0
    known = {"workflow", "step", "status", "outcome", "kind", "decision", "le", "version"}
    for family in families.values():
        for _, labels in family.samples:
            assert {name for name, _ in labels} <= known, labels
    for never in (run, run.removeprefix("run_"), "sk-the-real-key", str(project.folder)):
        assert never not in page, never
    assert project.call("runs", "cancel", run).code == 0
    running.finish()
    with pytest.raises(urllib.error.URLError):
        scrape(url)


def test_a_question_is_seen_to_wait_and_its_run_to_end(project: Project) -> None:
    project.steps("""
    @workflow.step(approval_required=True)
    def asked(context):
        return 1

    @workflow.step(timeout_seconds=600)
    def after(context):
        time.sleep(1000)
    """)
    running = project.start("run", "--metrics", "127.0.0.1:0")
    url = address(running)
    asked = question(running)
    wait_for(lambda: value(parse(scrape(url)), "wflo_approvals_waiting", workflow="e2e") == 1, "it waits")
    assert value(parse(scrape(url)), "wflo_runs", workflow="e2e", status="waiting") == 1
    assert project.call("approvals", "approve", asked["approval_id"]).code == 0
    running.until("step.started", step="after")

    def decided() -> bool:
        families = parse(scrape(url))
        return value(families, "wflo_steps_running", workflow="e2e", step="after") == 1

    wait_for(decided, "it goes on")
    families = parse(scrape(url))
    assert value(families, "wflo_approvals_total", workflow="e2e", decision="approved") == 1
    assert value(families, "wflo_approvals_waiting", workflow="e2e") == 0
    assert value(families, "wflo_runs", workflow="e2e", status="running") == 1


def pair() -> int:
    """A port that is free, as is the next; both are none that the kernel gives to whoever asks for any."""
    least, most = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    own = [*range(10_000, least - 1), *range(most + 1, 65_535)]
    for port in random.sample(own, min(len(own), 100)):
        with closing(socket.socket()) as first, closing(socket.socket()) as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError("no two ports beside each other are free")


SLEEPS = """
    @workflow.step(timeout_seconds=600)
    def sleeps(context):
        time.sleep(1000)
"""


def test_two_processes_of_one_project_have_a_port_each_and_a_third_is_told(project: Project) -> None:
    project.steps(SLEEPS)
    port = pair()
    ports = f"127.0.0.1:{port}-{port + 1}"
    project.write_settings(f'\n[metrics]\nlisten = "{ports}"\n')
    both = [project.start("run"), project.start("run")]
    urls = [address(running) for running in both]
    assert set(urls) == {f"http://127.0.0.1:{at}/metrics" for at in (port, port + 1)}
    for url in urls:
        here = lambda url=url: value(parse(scrape(url)), "wflo_runs", workflow="e2e", status="running")  # noqa: E731
        wait_for(lambda here=here: here() == 1, "each counts its own run")
    third = project.call("run", "--json")
    assert third.code == 2 and "WFLO-5246" in third.err and ports in third.err, third
    runs = project.call("runs", "list", "--json")
    assert len(runs.events) == 2, "nothing was started"


def test_other_machines_read_nothing_unless_that_is_said(project: Project) -> None:
    project.steps(SLEEPS)
    refused = project.call("run", "--metrics", "0.0.0.0:0", "--json")
    assert refused.code == 2 and "WFLO-5247" in refused.err, refused
    running = project.start("run", "--metrics", "0.0.0.0:0", WFLO_METRICS__BEYOND_LOOPBACK="true")
    url = address(running).replace("0.0.0.0", "127.0.0.1")
    assert "wflo_build_info" in parse(scrape(url))


def test_whoever_hangs_on_the_page_holds_up_nothing(project: Project) -> None:
    project.steps("""
    @workflow.step(approval_required=True)
    def asked(context):
        return 1
    """)
    running = project.start("run", "--metrics", "127.0.0.1:0")
    host, port = address(running).split("/")[2].split(":")
    waiting = question(running)
    silent = []
    for _ in range(40):
        stream = socket.socket()
        stream.setblocking(False)
        stream.connect_ex((host, int(port)))
        silent.append(stream)
    assert project.call("approvals", "approve", waiting["approval_id"]).code == 0
    done = running.finish()
    assert done.code == 0, done
    for stream in silent:
        stream.close()

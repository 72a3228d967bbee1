"""`--trace`: a run's spans reach a collector, and a collector never decides about a run."""

import json
import socket

from collector import Collector, attributes
from model import MockModel
from project import Project

CALL = """
    @workflow.step
    async def ask(context):
        messages = [{"role": "user", "content": "a private question"}]
        answer = await context.llm.chat(model="m", max_tokens=5, messages=messages)
        return answer.text
"""


def test_a_runs_spans_reach_the_collector_as_the_protocol_has_them(project: Project, model: MockModel) -> None:
    project.steps(CALL)
    with Collector() as collector:
        done = project.run(
            "--trace",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.address,
            OTEL_EXPORTER_OTLP_HEADERS="x-token=sk-collector%20key",
            OTEL_SERVICE_NAME="my-agent",
        )
        assert done.code == 0, done
        assert collector.paths == ["/v1/traces"]
        assert collector.headers[0]["x-token"] == "sk-collector key"
        assert collector.headers[0]["content-type"] == "application/json"
        resource = collector.requests[0].resource_spans[0].resource
        assert {a.key: a.value.string_value for a in resource.attributes}["service.name"] == "my-agent"
        run, step, effect = collector.spans()
        body = collector.bodies[0].decode()
    record = done.run
    assert {s.trace_id.hex() for s in (run, step, effect)} == {record["trace_id"]}
    assert run.parent_span_id == b"" and step.parent_span_id == run.span_id
    assert effect.parent_span_id == step.span_id and len(effect.span_id) == 8
    for inner, outer in ((effect, step), (step, run)):
        assert outer.start_time_unix_nano <= inner.start_time_unix_nano <= inner.end_time_unix_nano
        assert inner.end_time_unix_nano <= outer.end_time_unix_nano
    assert [s.status.code for s in (run, step, effect)] == [1, 1, 1]
    assert effect.name == "chat m" and effect.kind == effect.SPAN_KIND_CLIENT
    told = attributes(effect)
    assert told["gen_ai.operation.name"] == "chat" and told["gen_ai.request.model"] == "m", told
    assert isinstance(told["gen_ai.usage.input_tokens"], int), told
    assert told["wflo.cost_usd"] == record["cost_usd"], told
    assert "a private question" not in body and "sk-the-real-key" not in body and "sk-collector" not in body
    assert "sk-collector" not in done.out + done.err
    kept = [json.loads(line) for line in project.call("runs", "trace", record["id"], "--json").out.splitlines()]
    assert [span["span_id"] for span in kept] == [s.span_id.hex() for s in (run, step, effect)]


def test_whoever_leaves_the_run_exports_it_and_the_ids_stay(project: Project) -> None:
    project.steps("""
        @workflow.step
        def before(context):
            return 1

        workflow.add(ApprovalGate("sign_off"))
    """)
    with Collector() as collector:
        project.environment["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = f"{collector.address}/own/path"
        running = project.start("run", "--trace")
        running.until("run.waiting")
        running.kill(15)
        assert running.finish().code == 75
        first = {span.span_id for span in collector.spans()}
        assert len(first) == 1, "only what has ended is exported"
        done = project.call("approvals", "approve", "latest")
        assert done.code == 0, done
        assert collector.paths == ["/own/path", "/own/path"]
        later = {s.span_id for s in collector.spans()}
        assert first < later and len(later) == 4, [s.name for s in collector.spans()]
        assert [s.span_id for s in collector.spans()].count(first.pop()) == 2


def test_a_collector_that_is_not_there_is_one_warning(project: Project) -> None:
    project.steps(CALL)
    # Held, so that nobody else's server comes to stand there.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        done = project.run("--trace", OTEL_EXPORTER_OTLP_ENDPOINT=gone)
    assert done.code == 0, done
    assert done.err.count("WFLO-8023") == 1 and "wflo runs trace" in done.err, done


def test_a_collector_that_refuses_or_hangs_does_not_fail_the_run(project: Project) -> None:
    project.steps(CALL)
    with Collector(status=403) as collector:
        done = project.run("--trace", OTEL_EXPORTER_OTLP_ENDPOINT=collector.address)
        assert done.code == 0 and "403" in done.err, done
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = f"http://127.0.0.1:{listener.getsockname()[1]}"
        done = project.run("--trace", OTEL_EXPORTER_OTLP_ENDPOINT=silent, OTEL_EXPORTER_OTLP_TIMEOUT="200")
        assert done.code == 0 and "within 200 ms" in done.err, done


def test_without_trace_nothing_is_exported_and_without_an_endpoint_it_says_where_the_trace_is(
    project: Project,
) -> None:
    project.steps(CALL)
    with Collector() as collector:
        assert project.run(OTEL_EXPORTER_OTLP_ENDPOINT=collector.address).code == 0
        assert collector.paths == []
    done = project.call("run", "--trace")
    assert done.code == 0 and done.err.count("wflo runs trace run_") == 1, done

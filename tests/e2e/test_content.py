"""What was asked of models: kept with the run, shown to people, gone with the run, and never a secret."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from collector import Collector, attributes
from model import MockModel
from project import Project
from test_programs import program

PROGRAM = """
    import json, os, sys, urllib.request

    TOOLS = [{"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}]

    def ask(messages):
        body = {"model": "m", "max_tokens": 5, "messages": messages, "tools": TOOLS}
        request = urllib.request.Request(
            os.environ["OPENAI_BASE_URL"] + "/chat/completions",
            json.dumps(body).encode(),
            {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["choices"][0]["message"]

    said = [{"role": "system", "content": "Be kind to \\u001b[2J terminals."}, {"role": "user", "content": "look"}]
    answer = ask(said)
    for call in answer["tool_calls"]:
        said += [answer, {"role": "tool", "tool_call_id": call["id"], "content": "found it"}]
    ask(said)
"""

STEP = """
    @workflow.step
    async def ask(context):
        messages = [{"role": "user", "content": "a private question"}]
        answer = await context.llm.chat(model="m", max_tokens=5, messages=messages)
        return answer.text
"""


def calls(project: Project, run: str = "latest") -> list[dict]:
    done = project.call("runs", "trace", run, "--content", "--json")
    assert done.code == 0, done
    return [json.loads(line) for line in done.out.splitlines()]


def spans(project: Project, run: str = "latest") -> list[dict]:
    return [json.loads(line) for line in project.call("runs", "trace", run, "--json").out.splitlines()]


def files(project: Project) -> list[Path]:
    return [path for path in (project.folder / ".wflo").rglob("*") if path.is_file()]


def is_kept(project: Project, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in files(project))


def test_the_conversation_of_an_unmodified_program_is_kept_and_its_tools_are_spans(
    project: Project, model: MockModel
) -> None:
    model.tools["look"] = [("call-7", "read", {"path": "notes.txt"})]
    project.write("agent.py", PROGRAM)
    done = program(project, "python3", "agent.py")
    assert done.returncode == 0, done
    first, second = calls(project)
    # Exactly what was sent, but for what wflo itself adds on the way.
    for call, entry in zip((first, second), model.entries, strict=True):
        assert call["request"]["messages"] == entry["body"]["messages"], call
        assert call["request"]["tools"] == entry["body"]["tools"], call
        assert (call["model"], call["input_tokens"], call["output_tokens"]) == ("m", 10, 5), call
        assert float(call["cost_usd"]) > 0 and call["not_kept"] == 0, call
    wanted = {"type": "tool_call", "id": "call-7", "name": "read", "arguments": {"path": "notes.txt"}}
    assert first["answered"] == [{"role": "assistant", "parts": [wanted]}], first
    assert second["asked"][-1] == {
        "role": "tool",
        "parts": [{"type": "tool_call_response", "id": "call-7", "response": "found it"}],
    }
    [tool] = [span for span in spans(project) if span["kind"] == "tool"]
    asked, answered = [span for span in spans(project) if span["name"] == "chat m"]
    assert tool["name"] == "execute_tool read" and tool["status"] == "ok", tool
    assert (tool["start"], tool["end"]) == (asked["end"], answered["start"]), tool
    assert tool["attributes"]["gen_ai.operation.name"] == "execute_tool", tool
    assert tool["attributes"]["gen_ai.tool.call.id"] == "call-7", tool
    assert "notes.txt" not in json.dumps(spans(project)), "arguments are content"
    page = project.call("runs", "trace", "latest", "--content")
    assert "execute_tool read" in project.call("runs", "trace", "latest").out
    for text in ("look", 'read {"path":"notes.txt"}', "found it", "You said", "10 tokens in, 5 out", "Be kind"):
        assert text in page.out, page
    assert page.out.count("Be kind") == 1, "what an earlier call had is not said again"
    assert "\x1b" not in page.out, page


def test_a_steps_calls_are_kept_and_leave_with_a_trace_only_where_people_say_so(
    project: Project, model: MockModel
) -> None:
    project.steps(STEP)
    with Collector() as collector:
        assert project.run("--trace", OTEL_EXPORTER_OTLP_ENDPOINT=collector.address).code == 0
        assert "a private question" not in collector.bodies[0].decode()
        [call] = calls(project)
        assert call["step"] == "ask" and call["asked"][0]["parts"][0]["content"] == "a private question", call
        project.write_settings("\n[traces]\nexport_content = true\n")
        assert project.run("--trace", OTEL_EXPORTER_OTLP_ENDPOINT=collector.address).code == 0
        told = attributes(collector.spans()[-1])
    asked = json.loads(told["gen_ai.input.messages"])
    assert asked == [{"role": "user", "parts": [{"type": "text", "content": "a private question"}]}], told
    assert "You said" in told["gen_ai.output.messages"], told


def test_where_it_is_turned_off_nothing_that_was_asked_is_kept(project: Project, model: MockModel) -> None:
    model.tools["look"] = [("call-7", "read", {"path": "notes.txt"})]
    project.write_settings("\n[traces]\ncontent = false\n")
    project.write("agent.py", PROGRAM.replace("Be kind to", "Something unheard of"))
    assert program(project, "python3", "agent.py").returncode == 0
    assert b"Something unheard of" in json.dumps(model.entries[0]["body"]).encode()
    with closing(sqlite3.connect(project.folder / ".wflo/wflo.db")) as db:
        assert db.execute("SELECT count(*) FROM contents").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM effect_requests WHERE request LIKE '%content%'").fetchone() == (0,)
    first, _ = calls(project)
    assert first["request"] is None and first["asked"] == [] and first["answered"], first
    assert "was not kept" in project.call("runs", "trace", "latest", "--content").out


def test_a_secret_that_a_program_puts_into_a_prompt_is_in_no_file(project: Project, model: MockModel) -> None:
    model.tools["look"] = [("call-7", "read", {})]
    value = 'sk-a-"quoted"-key-0123456789'
    project.environment["MODEL_KEY"] = value
    project.write(
        "agent.py",
        PROGRAM.replace("Be kind to", "My key is " + value.replace('"', '\\"') + ", and I am kind to"),
    )
    done = program(project, "python3", "agent.py")
    assert done.returncode == 0, done
    [first, _] = calls(project)
    text = first["request"]["messages"][0]["content"]
    assert text.startswith("My key is [redacted], and I am kind"), first
    with closing(sqlite3.connect(project.folder / ".wflo/wflo.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        kept = [row[0] for row in db.execute("SELECT text FROM contents")]
    assert kept and not any("quoted" in text for text in kept), kept
    assert not is_kept(project, "quoted"), files(project)


def test_it_goes_with_its_run(project: Project, model: MockModel) -> None:
    model.tools["look"] = [("call-7", "read", {})]
    project.write("agent.py", PROGRAM.replace("Be kind to", "Something unheard of"))
    assert program(project, "python3", "agent.py").returncode == 0
    with closing(sqlite3.connect(project.folder / ".wflo/wflo.db")) as db:
        assert db.execute("SELECT count(*) FROM contents").fetchone()[0] > 0
    assert project.call("runs", "prune", "--older-than", "0s", "--discard-changes", "--yes").code == 0
    with closing(sqlite3.connect(project.folder / ".wflo/wflo.db")) as db:
        for table in ("contents", "content_links", "effect_requests"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


def test_a_killed_call_has_what_it_asked_or_has_no_intent(project: Project, failpoints: None) -> None:
    project.steps(STEP)
    for place in ("llm.intent.before", "llm.intent.after"):
        assert project.run(WFLO_FAILPOINT=place).code != 0
        found = calls(project)
        if place.endswith("before"):
            assert found == [], found
        else:
            [call] = found
            assert call["asked"][0]["parts"][0]["content"] == "a private question", call
            assert call["finished_at"] is None, call
        assert project.call("runs", "resume", "latest").code == 0
        [call] = calls(project)
        assert call["asked"] and call["answered"], call


ASK = """
    import json, os, urllib.request

    def ask(body, path="/chat/completions"):
        body = body if isinstance(body, str) else json.dumps(body)
        request = urllib.request.Request(
            os.environ["OPENAI_BASE_URL"] + path,
            body.encode(),
            {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
"""

GROWING = """
    said = [{"role": "user", "content": f"{n} " + "word " * 1_600} for n in range(450)]
    for n in range(CALLS):
        said.append({"role": "user", "content": f"and {n}"})
        ask({"model": "m", "max_tokens": 5, "messages": said})
"""


def peak(project: Project, *arguments: str) -> int:
    """What a command held in memory at most, in bytes."""
    # By a small process: what starts another one passes its own peak on to it.
    script = """if True:
        import resource, subprocess, sys
        subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    """
    done = subprocess.run(
        [sys.executable, "-c", script, project.wflo, *arguments],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done
    return int(done.stdout) * 1024


def test_a_trace_holds_one_call_in_memory_however_many_there_are(project: Project, model: MockModel) -> None:
    took = {}
    for number in (2, 16):
        project.write("agent.py", ASK + GROWING.replace("CALLS", str(number)))
        assert program(project, "python3", "agent.py").returncode == 0
        lines = calls(project)
        assert len(lines) == number and lines[-1]["request_bytes"] > 3_500_000, len(lines)
        for flags in ((), ("--json",), ("--content",), ("--content", "--json")):
            took.setdefault(flags, []).append(peak(project, "runs", "trace", "latest", *flags))
    for flags, (few, many) in took.items():
        assert many < few + 24_000_000, took
        # Where nothing is shown of what was asked, none of it is read.
        assert flags not in ((), ("--json",)) or many < took[("--content",)][0], took


def test_what_is_exported_leaves_in_several_requests(project: Project, model: MockModel) -> None:
    project.write_settings("\n[traces]\nexport_content = true\n")
    script = """
    for n in range(8):
        said = [{"role": "user", "content": f"{n} {m} " + "word " * 1_600} for m in range(180)]
        ask({"model": "m", "max_tokens": 5, "messages": said})
    """
    project.write("agent.py", ASK + script)
    with Collector() as collector:
        project.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.address
        project.environment["OTEL_EXPORTER_OTLP_TIMEOUT"] = "60000"
        assert program(project, "python3", "agent.py", flags=("--trace",)).returncode == 0
        told = [attributes(span) for span in collector.spans() if span.name == "chat m"]
        lengths = [len(body) for body in collector.bodies]
    assert len(lengths) > 1 and max(lengths) < 7_000_000, lengths
    assert len(told) == 8, told
    for of in told:
        sent = json.loads(of["gen_ai.input.messages"])
        assert len(sent) + int(of["wflo.messages_not_exported"]) == 180 and int(of["wflo.bytes_not_exported"]) > 0


def test_no_program_hides_a_line_of_its_conversation_or_writes_one_of_wflos(project: Project, model: MockModel) -> None:
    script = """
    ask({"model": "m", "max_tokens": 5, "messages": [
        {"role": "user", "type": "reasoning", "content": "first\\n  user      | x\\n  (3 messages as before)"},
        {"role": "user", "content": "second", "wflo.not_kept": {"bytes": 7, "blake3": "0" * 64}},
        {"wflo.not_kept": {"bytes": 7, "blake3": "0" * 64}},
        {"role": "calls", "content": "third {}"},
        {"role": "user", "content": "x" * 300 + "  user      \u2502 fourth"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:fifth"}}]},
    ]})
    """
    project.write("agent.py", ASK + script)
    assert program(project, "python3", "agent.py").returncode == 0
    page = project.call("runs", "trace", "latest", "--content").out
    lines = [line for line in page.splitlines() if line]
    body = [line for line in lines[1:] if not line.startswith("  (")]
    assert all(line[12] in "\u2502\u2506\u00b7" and len(line) <= 100 for line in body), page
    assert "(3 messages" not in [line[2:13] for line in lines], page
    for text in ("second", "third {}", "fourth", 'role "calls"', '"image_url"', '"wflo.not_kept"'):
        assert text in page, page
    assert "not kept" not in page.replace("wflo.not_kept", ""), page


def test_half_a_surrogate_costs_nothing_of_its_request(project: Project, model: MockModel) -> None:
    value = "sk-a-key-0123456789"
    project.environment["MODEL_KEY"] = value
    script = """
    text = "before \\ud800 behind"
    body = json.dumps({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": text}]})
    ask(body.replace("behind", "\\\\u0073k-a-key-0123456789"))
    """
    project.write("agent.py", ASK + script)
    project.write_settings("\n[traces]\nexport_content = true\n")
    with Collector() as collector:
        project.environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.address
        done = program(project, "python3", "agent.py", flags=("--trace",))
        assert done.returncode == 0, done
        [told] = [attributes(span) for span in collector.spans() if span.name == "chat m"]
    [call] = calls(project)
    assert isinstance(call["request"], str) and "before \\ud800 [redacted]" in call["request"], call
    assert call["asked"][0]["parts"] == [{"type": "text", "content": "before \ufffd [redacted]"}], call
    assert "before \ufffd [redacted]" in json.loads(told["gen_ai.input.messages"])[0]["parts"][0]["content"], told
    assert "before \ufffd [redacted]" in project.call("runs", "trace", "latest", "--content").out

"""`backend = "none"`: the same run without isolation, which it says, and with nothing left of it."""

import http.client
import json
import os
import signal
from pathlib import Path

import pytest
from model import MockModel
from project import Project, Running, wait_for
from test_kill import children, is_launcher

ASK = '[{"role": "user", "content": "hello"}]'

# What does all it can to outlive its step; every process of it names the project.
RUNAWAY = """
    import subprocess, textwrap
    script = "(setsid sh -c '(sleep 1000 &); sleep 1000' &); while true; do (setsid sleep 1000 &); sleep 0.02; done"
    subprocess.Popen(["sh", "-c", script], env={**os.environ, "E2E_MARK": context.inputs["mark"]})
"""


def indented(text: str, by: int) -> str:
    return text.replace("\n    ", "\n" + " " * by)


def marked(mark: str) -> list[str]:
    """Processes whose environment holds the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"E2E_MARK={mark}".encode() in (entry / "environ").read_bytes():
                found.append(f"{entry.name}: {(entry / 'cmdline').read_bytes()!r}")
        except OSError:
            continue
    return found


def notices(events: list[dict]) -> list[str]:
    return [e["message"] for e in events if e["type"] == "run.notice" and e["notice"] == "sandbox.none"]


@pytest.mark.parametrize("how", ["flag", "settings"])
def test_steps_work_in_a_copy_and_the_run_says_so_once(project: Project, how: str) -> None:
    project.write(".env", "SECRET=1\n")
    project.write("data/in.txt", "in")
    if how == "settings":
        project.write_settings('\n[sandbox]\nbackend = "none"\n')
    project.steps("""
        @workflow.step
        def write(context):
            (context.workspace / "out.txt").write_text(open("data/in.txt").read() + " and out")
            os.remove("data/in.txt")
            return [os.getcwd(), str(context.workspace), os.path.exists(".env"), sorted(os.environ), os.getuid()]

        @workflow.step
        async def read(context):
            return [open("out.txt").read(), os.path.exists("data/in.txt"), sorted(os.listdir(os.environ["HOME"]))]
    """)
    done = project.run(*(["--sandbox", "none"] if how == "flag" else []))
    assert done.code == 0, done
    cwd, workspace, hidden_is_there, names, user = done.run["outputs"]["write"]
    assert cwd == workspace != str(project.folder) and cwd.endswith("/project")
    assert not hidden_is_there and user == os.getuid()
    assert not {"MODEL_KEY", "WFLO_PYTHON"} & set(names), names
    assert done.run["outputs"]["read"] == ["in and out", False, [".claude.json", ".codex"]]
    assert len(notices(done.events)) == 1 and cwd in notices(done.events)[0], done
    assert not Path(cwd).exists(), "the copy outlived its step"

    # The project is as it was until somebody applies.
    assert (project.folder / "data/in.txt").exists() and not (project.folder / "out.txt").exists()
    assert "out.txt" in project.call("diff", done.run["id"]).out
    assert project.call("apply", done.run["id"]).code == 0
    assert (project.folder / "out.txt").read_text() == "in and out"
    assert not (project.folder / "data/in.txt").exists()


def test_a_terminals_reader_is_told(project: Project) -> None:
    project.steps("""
        @workflow.step
        def nothing(context):
            return 1
    """)
    done = project.call("run", "--sandbox", "none")
    assert done.code == 0, done
    assert (done.out + done.err).count("no isolation") == 1, done


def test_commands_run_in_it_too(project: Project) -> None:
    project.write(
        "flow.yaml",
        """
        apiVersion: wflo.dev/v1
        kind: Workflow
        name: commands
        steps:
          - {name: make, type: tool, run: [sh, -c, "echo made > made.txt; pwd"]}
          - {name: show, type: tool, run: [cat, made.txt], depends_on: [make]}
        """,
    )
    done = project.run("flow.yaml", "--sandbox", "none")
    assert done.code == 0, done
    assert done.run["outputs"]["show"]["stdout"] == "made\n"
    assert done.run["outputs"]["make"]["stdout"].strip() != str(project.folder)


def listening(address: str) -> set[str]:
    """The sockets that listen at this port, each by its number in the kernel, which no other one gets."""
    port = f":{int(address.rsplit(':', 1)[1]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[1].endswith(port) and row[3] == "0A"}


def test_stock_clients_reach_the_gateway_and_nobody_else_does(project: Project, model: MockModel) -> None:
    project.steps(f"""
        @workflow.step
        def asks(context):
            import openai, anthropic
            address, key = os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]
            (context.workspace / "address").write_text(address)
            said = openai.OpenAI().chat.completions.create(model="m", messages={ASK}, max_tokens=5)
            also = anthropic.Anthropic().messages.create(model="claude-m", messages={ASK}, max_tokens=5)
            refused = []
            for wrong in ("wflo-placeholder-key", key[:-1], key + "x", ""):
                try:
                    openai.OpenAI(api_key=wrong or "none").chat.completions.create(model="m", messages={ASK})
                except openai.AuthenticationError as error:
                    refused.append(error.code)
            print("ready", context.workspace, flush=True)
            while not (context.workspace / "go").exists():
                time.sleep(0.01)
            return [said.choices[0].message.content, also.content[0].text, refused, len(key)]
    """)
    running = project.start("run", "--sandbox", "none")
    line = running.until("log", level="stdout")["message"]
    workspace = Path(line.removeprefix("ready "))
    asked = len(model.entries)
    address = (workspace / "address").read_text().removeprefix("http://").split("/")[0]
    ours = listening(address)
    assert len(ours) == 1
    stranger = http.client.HTTPConnection(address)
    body = json.dumps({"model": "m", "messages": json.loads(ASK), "max_tokens": 5})
    for headers in ({}, {"Authorization": "Bearer wflo-placeholder-key"}, {"x-api-key": "guess"}):
        stranger.request("POST", "/openai/v1/chat/completions", body, {"Content-Type": "application/json", **headers})
        answer = stranger.getresponse()
        told = json.loads(answer.read())
        assert (answer.status, told["error"]["code"]) == (401, "WFLO-4022"), told
    (workspace / "go").touch()
    done = running.finish()
    assert done.code == 0, done
    said, also, refused, length = done.run["outputs"]["asks"]
    assert said == also == "You said: hello" and refused == ["WFLO-4022"] * 4 and length > 40
    assert len(model.entries) == asked == 2, "what was refused was asked all the same"
    # The port may be somebody else's by now.
    assert not ours & listening(address), "the gateway still listens"


def test_a_killed_engine_leaves_nothing_and_the_run_goes_on(project: Project, model: MockModel) -> None:
    project.database("CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT NOT NULL)")
    project.steps(f"""
        workflow.set_budget(max_cost_usd="0.50", action_on_exceeded="halt")

        @workflow.step
        async def first(context):
            (context.workspace / "kept.txt").write_text("kept")
            return (await context.llm.chat(model="m", messages={ASK}, max_tokens=5)).text

        @workflow.step(approval_required=True)
        async def second(context):
{indented(RUNAWAY, 12)}
            ask = [{{"role": "user", "content": "in " + str(context.workspace)}}]
            text = (await context.llm.chat(model="m", messages=ask, max_tokens=5)).text
            await context.db.execute("INSERT INTO log (what) VALUES (?)", [text])
            await context.sleep(0.5)
            await asyncio.sleep(3)
            return [text, open("kept.txt").read()]
    """)
    mark = str(project.folder)
    running = project.start("run", "--sandbox", "none", "--input", f"mark={mark}")
    asked = running.until("approval.requested")
    run = asked["run_id"]
    assert project.call("approvals", "approve", asked["approval_id"]).code == 0
    running.until("effect.started", kind="sleep")
    launchers = [pid for pid in children(running.pid) if is_launcher(pid)]
    wait_for(lambda: marked(mark) and launchers, "the step started something")
    running.kill(signal.SIGKILL)
    wait_for(lambda: not marked(mark), "everything that the step started is dead")
    wait_for(lambda: not any(map(is_launcher, launchers)), "the launcher is dead")

    done = project.start("runs", "resume", run).finish()
    assert done.code == 0, done
    text, kept = done.run["outputs"]["second"]
    assert text.startswith("You said: in /") and kept == "kept"
    assert set(model.asked().values()) == {1}, "a finished call was made again"
    assert project.rows("SELECT count(*) FROM log") == [(1,)]
    assert len(notices(project.events(run))) == 1, "said again by the process that resumed"
    assert not marked(mark)


def test_a_time_out_and_a_cancel_end_the_whole_tree(project: Project) -> None:
    project.steps(f"""
        @workflow.step(timeout_seconds=1)
        async def endless(context):
{indented(RUNAWAY, 12)}
            print("ready", flush=True)
            await asyncio.sleep(1000)
    """)
    mark = str(project.folder)
    done = project.run("--sandbox", "none", "--input", f"mark={mark}")
    assert (done.code, done.run["error"]["code"]) == (5, "WFLO-3002"), done
    assert not marked(mark)

    project.write("workflow.py", (project.folder / "workflow.py").read_text().replace("timeout_seconds=1", ""))
    running: Running = project.start("run", "--sandbox", "none", "--input", f"mark={mark}")
    run = running.until("log", message="ready")["run_id"]
    wait_for(lambda: bool(marked(mark)), "it runs")
    assert project.call("runs", "cancel", run).code == 0
    assert running.finish().code == 5
    assert not marked(mark)


def test_limits_are_watched_over_or_refused(project: Project) -> None:
    project.steps("""
        @workflow.step
        async def many(context):
            import subprocess
            for _ in range(200):
                subprocess.Popen(["sleep", "1000"])
            await asyncio.sleep(1000)
    """)
    project.write_settings('\n[sandbox]\nbackend = "none"\npids_limit = 50\n')
    done = project.run()
    assert done.code == 1, done
    if any(e["notice"] == "sandbox.supervised" and "pids" in e["message"] for e in done.of("run.notice")):
        assert done.run["error"]["code"] == "WFLO-3018", done


@pytest.mark.parametrize(
    ("settings", "flags", "code"),
    [
        ('backend = "none"\nrequire = "kernel"', [], "WFLO-5008"),
        ('require = "kernel"', ["--sandbox", "none"], "WFLO-5008"),
        ('disk_limit = "64m"', ["--sandbox", "none"], "WFLO-5008"),
        ("inodes_limit = 5000", ["--sandbox", "none"], "WFLO-5008"),
        ('rw = ["./data:/data"]', ["--sandbox", "none"], "WFLO-5008"),
        ('backend = "native"', [], "WFLO-1012"),
        ("", [], "WFLO-1012"),
        ("", ["--sandbox", "gvisor"], "WFLO-8004"),
    ],
)
def test_what_it_cannot_keep_is_refused_before_anything_runs(
    project: Project, settings: str, flags: list[str], code: str
) -> None:
    project.steps("""
        workflow.configure_sandbox(backend="none")

        @workflow.step
        def ran(context):
            raise AssertionError("it ran")
    """)
    project.write_settings(f"\n[sandbox]\n{settings}\n")
    done = project.run(*flags)
    assert done.code == 2 and code in done.err + done.out, done
    assert "it ran" not in done.out


def test_the_sdk_asks_for_it_by_a_bool(project: Project) -> None:
    project.write(
        "workflow.py",
        """
        import os
        from wflo import Workflow
        workflow = Workflow("e2e")

        @workflow.step
        def where(context):
            return os.getcwd()

        if os.environ.get("E2E_SANDBOX") is not None:
            result = workflow.run_sync(sandbox={"no": False, "yes": True}.get(os.environ["E2E_SANDBOX"], "none"))
            print(result.outputs["where"])
        """,
    )
    import subprocess
    import sys

    environment = {**project.environment, "WFLO_BIN": str(project.wflo)}
    for asked, own_path in (("no", False), ("none", False), ("yes", True)):
        done = subprocess.run(
            [sys.executable, "workflow.py"],
            cwd=project.folder,
            env={**environment, "E2E_SANDBOX": asked},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done
        assert (done.stdout.strip() == str(project.folder)) == own_path, done

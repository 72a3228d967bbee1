"""Starting runs: the command line, the events, and the exception of each ending."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FAKE = """#!{python}
import json, os, sys
seen = {{"argv": sys.argv[1:], "stdin": json.loads(sys.stdin.read())}}
with open("seen.json", "w") as file:
    json.dump(seen, file)
mode = os.environ.get("FAKE", "completed")
def say(event):
    print(json.dumps(event), flush=True)
if mode == "usage":
    sys.exit(2)
if mode == "refused":
    say({{"error": json.loads(os.environ["REFUSED"])}})
    say({{"error": {{"code": "WFLO-1004", "message": "second", "hint": "other"}}}})
    sys.exit(2)
say({{"type": "run.started", "run_id": "run_1", "seq": 1}})
if mode == "crash":
    os._exit(70)
if "--detach" in sys.argv:
    sys.exit(0)
if mode == "slow":
    import signal, time
    def stop(*_):
        open("interrupted", "w").close()
        sys.exit(5)
    signal.signal(signal.SIGINT, stop)
    open("waiting", "w").close()
    # More than a pipe holds: whoever waits for the end of this process must read on.
    for _ in range(3000):
        say({{"type": "step.log", "run_id": "run_1", "message": "x" * 100}})
    time.sleep(60)
run = {{"id": "run_1", "status": mode, "outputs": {{"step": "x" * 200_000}}, "cost_usd": "0.125", "error": None}}
if mode != "completed":
    run["error"] = {{"code": "WFLO-4001", "message": "why", "hint": "do this"}}
say({{"type": "run.finished", "run": run}})
sys.exit(0 if mode == "completed" else 1)
"""

WORKFLOW = """
import wflo, asyncio, sys
from wflo import Workflow
workflow = Workflow("sample")
@workflow.step
def step(context):
    pass
"""


@pytest.fixture
def run(tmp_path):
    """Runs a script in a folder of its own with a fake `wflo` beside nothing but `WFLO_BIN`."""
    binary = tmp_path / "bin" / "wflo"
    binary.parent.mkdir()
    binary.write_text(FAKE.format(python=sys.executable))
    binary.chmod(0o755)

    def call(body, fake="completed", name="workflow.py", argv=None, **env):
        script = tmp_path / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(WORKFLOW + textwrap.dedent(body))
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "python"),
            "WFLO_BIN": str(binary),
            "FAKE": fake,
            **env,
        }
        found = subprocess.run(
            argv or [sys.executable, name],
            cwd=tmp_path,
            env={key: value for key, value in environment.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=60,
        )
        seen = tmp_path / "seen.json"
        return found, json.loads(seen.read_text()) if seen.exists() else None

    call.folder = tmp_path
    return call


@pytest.mark.parametrize("how", ["workflow.run_sync({})", "asyncio.run(workflow.run({}))"])
def test_a_completed_run(run, how):
    arguments = "inputs={'a': [1]}, sandbox=True, trace=True, notify='slack://prod', on_event=events.append"
    found, seen = run(
        f"""
        if __name__ == "__main__":
            events = []
            result = {how.format(arguments)}
            print(result.id, result.status, result.cost_usd, len(result.outputs["step"]), result.error)
            print([event["type"] for event in events])
        """
    )
    assert found.stdout.splitlines() == [
        "run_1 completed 0.125 200000 None",
        "['run.started', 'run.finished']",
    ], found.stderr
    assert seen == {
        "argv": ["run", "workflow.py", "--json", "--from-sdk", "--trace", "--notify", "slack://prod"],
        "stdin": {"definition": seen["stdin"]["definition"], "inputs": {"a": [1]}},
    }
    assert [step["name"] for step in seen["stdin"]["definition"]["steps"]] == ["step"]


def test_the_definition_of_the_calling_process_is_handed_over(run):
    _, seen = run(
        """
        if __name__ == "__main__":
            workflow.set_budget(max_cost_usd="0.5")
            workflow.run_sync()
        """
    )
    assert seen["stdin"]["definition"]["budgets"][0]["max_cost_usd"] == "0.5"
    assert seen["stdin"]["inputs"] == {}


@pytest.mark.parametrize(
    ("code", "name"),
    [("WFLO-1032", "WorkflowInvalid"), ("ValueError", "WorkflowInvalid"), ("WFLO-8006", "RunNotStarted")],
)
@pytest.mark.parametrize("how", ["workflow.run_sync()", "asyncio.run(workflow.run())", "workflow.submit()"])
def test_a_refusal_carries_its_reasons(run, code, name, how):
    refused = {"code": code, "message": "why", "hint": "do this", "place": "workflow.py:7"}
    found, _ = run(
        f"""
        try:
            {how}
        except wflo.RunNotStarted as error:
            print(type(error).__name__, error.code, error.exit_code, error.hint, len(error.failures))
            print(error)
        """,
        fake="refused",
        REFUSED=json.dumps(refused),
    )
    assert found.stdout.splitlines() == [
        f"{name} {code} 2 do this 2",
        f"workflow.py:7: why [{code}]",
        "  hint: do this",
        "second [WFLO-1004]",
        "  hint: other",
    ], found.stderr


@pytest.mark.parametrize("how", ["workflow.run_sync(on_event=fail)", "asyncio.run(workflow.run(on_event=fail))"])
def test_an_error_in_on_event_stops_the_child_and_is_raised(run, how):
    found, _ = run(
        f"""
        import pathlib
        def fail(event):
            while not pathlib.Path("waiting").exists():
                pass
            raise ZeroDivisionError("mine")
        if __name__ == "__main__":
            try:
                {how}
            except ZeroDivisionError as error:
                print(error, pathlib.Path("interrupted").exists(), getattr(error, "__notes__", None))
        """,
        fake="slow",
    )
    note = "run run_1 was stopped; `wflo runs resume run_1` goes on with it"
    notes = [note] if sys.version_info >= (3, 11) else None
    assert found.stdout.strip() == f"mine True {notes}", found.stderr


@pytest.mark.parametrize(
    ("status", "name"),
    [
        ("failed", "RunFailed"),
        ("halted", "RunHalted"),
        ("rejected", "RunRejected"),
        ("cancelled", "RunCancelled"),
        ("timed_out", "RunTimedOut"),
        ("rolled_back", "RunRolledBack"),
        ("waiting", "RunLeftWaiting"),
        ("paused", "RunLeftWaiting"),
    ],
)
def test_each_other_ending_is_an_exception_with_the_result(run, status, name):
    found, _ = run(
        """
        try:
            workflow.run_sync()
        except wflo.RunError as error:
            print(type(error).__name__, error.result.id, error.code, error.hint, "why" in error.message)
        """,
        fake=status,
    )
    assert found.stdout.strip() == f"{name} run_1 WFLO-4001 do this True", found.stderr


def test_a_child_that_ends_without_a_run(run):
    body = """
    try:
        workflow.run_sync()
    except wflo.RunNotStarted as error:
        print(error.exit_code, error.code, error.message, error.hint)
    """
    found, _ = run(body, fake="usage")
    assert found.stdout.startswith("2 WFLO-8503 wflo refused its options"), found.stderr
    found, _ = run(body, fake="crash")
    assert "70 WFLO-8503" in found.stdout
    assert "wflo runs resume run_1" in found.stdout


def test_submit_returns_the_id(run):
    found, seen = run("print(workflow.submit({'a': 1}))")
    assert found.stdout.strip() == "run_1", found.stderr
    assert seen["argv"][-1] == "--detach"
    assert seen["stdin"]["inputs"] == {"a": 1}


def test_sandbox_takes_a_bool_or_a_name(run):
    _, seen = run("workflow.run_sync(sandbox=False)")
    assert seen["argv"] == ["run", "workflow.py", "--json", "--from-sdk", "--sandbox", "none"]
    _, seen = run("workflow.run_sync(sandbox='docker')")
    assert seen["argv"][-1] == "docker"
    found, _ = run("workflow.run_sync(sandbox='dokcer')")
    assert "did you mean `docker`?" in found.stderr


def test_several_workflows_are_named(run):
    _, seen = run("other = Workflow('other')\nother.step(step)\nother.run_sync()")
    assert seen["argv"][1] == "workflow.py:other"


def test_modules_are_named_as_they_were_started(run):
    (run.folder / "pkg").mkdir()
    (run.folder / "pkg" / "__init__.py").touch()
    found, seen = run("workflow.run_sync()", name="pkg/flow.py", argv=[sys.executable, "-m", "pkg.flow"])
    assert seen["argv"][1:4] == ["pkg.flow:workflow", "--project", str(run.folder)], found.stderr


def test_a_prompt_or_a_notebook_is_explained(run):
    source = WORKFLOW + "workflow.run_sync()"
    found, _ = run("", argv=[sys.executable, "-c", source])
    assert "WFLO-1508" in found.stderr
    assert "write the workflow into a file" in found.stderr


def test_a_missing_binary_is_explained(run):
    found, _ = run("workflow.run_sync()", WFLO_BIN=None, PATH="/nonexistent")
    if not (Path(sys.executable).parent / "wflo").exists():
        assert "WFLO-8501" in found.stderr
        assert "pip install path/to/wheel" in found.stderr
    found, _ = run("workflow.run_sync()", WFLO_BIN="/nonexistent/wflo")
    assert "WFLO_BIN is /nonexistent/wflo" in found.stderr


def test_a_server_is_refused_by_name(run):
    found, _ = run("workflow.run_sync()", WFLO_URL="https://wflo.example")
    assert "WFLO-8502" in found.stderr
    assert "later" in found.stderr or "this release" in found.stderr


def test_inputs_must_be_json(run):
    found, _ = run("workflow.run_sync({'when': {1}})")
    assert "inputs.when is a set, which is not JSON" in found.stderr


def test_cancelling_interrupts_the_child_and_waits_for_it(run):
    found, _ = run(
        """
        import pathlib
        async def main():
            task = asyncio.create_task(workflow.run())
            while not pathlib.Path("waiting").exists():
                await asyncio.sleep(0.01)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                print("cancelled", pathlib.Path("interrupted").exists())
        if __name__ == "__main__":
            asyncio.run(main())
        """,
        fake="slow",
    )
    assert found.stdout.strip() == "cancelled True", found.stderr


def test_importing_wflo_is_light():
    """No asyncio, typing, dataclasses, json or re: their import is most of a step's start."""
    heavy = "asyncio typing dataclasses json re enum inspect subprocess decimal socket threading"
    code = "import sys; before = set(sys.modules); import wflo; print(' '.join(set(sys.modules) - before))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not set(found.stdout.split()) & set(heavy.split())

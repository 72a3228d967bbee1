"""What a runner imports before it has an order, and what it leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SHOWN = """
import json, os, sys
from wflo.runner import ahead
class Channel:
    def __init__(self, asked): self.asked = asked
    def pending(self):
        self.asked -= 1
        return self.asked < 0
ahead.prepare(Channel(int(sys.argv[3])), sys.argv[1], sys.argv[2])
print(json.dumps([sorted(sys.modules), sys.path, os.getcwd()]))
"""
NEVER = 100_000


def ran(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A script with the SDK, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", script, *words],
        env={"PYTHONPATH": str(ROOT / "python"), "PATH": os.environ["PATH"]},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def prepared(project, order_after: int = NEVER, workflow: str = "workflow.py") -> set[str]:
    """The modules of a runner that has prepared for a workflow, with an order that came after so many looks."""
    done = ran(SHOWN, project.path, workflow, str(order_after))
    modules, path, folder = json.loads(done.stdout)
    assert folder == project.path
    assert not [entry for entry in path if entry.startswith(project.path)], "nothing of the project is on the path"
    return set(modules)


def test_what_every_step_needs_is_there(project):
    assert {"wflo.runner.steps", "wflo.runner.loop", "asyncio", "ssl"} <= prepared(project)


@pytest.mark.parametrize("looks", [0, 1, 5])
def test_an_order_is_not_kept_waiting(project, looks):
    modules = prepared(project, order_after=looks)
    assert "wflo.runner.steps" in modules and "asyncio" not in modules


def test_an_order_that_came_at_once_is_seen(project):
    project.steps(
        """
        import sys
        @workflow.step
        def step(context):
            return "asyncio" in sys.modules
        """
    )
    engine = project.engine(greet=False)
    frames = [{"type": "hello", "protocol": 1}, {"type": "prepare", "project": project.path, "workflow": "workflow.py"}]
    bodies = [json.dumps(frame).encode() for frame in frames]
    engine.send_bytes(b"".join(len(body).to_bytes(4, "big") + body for body in bodies))
    engine.start(project.path, "workflow.py", "step")
    engine.receive("hello")
    assert engine.end()["output"] is False


@pytest.mark.parametrize("name", ["queue.py", "asyncio/__init__.py", "ssl.so", "flows/signal.py"])
def test_nothing_stands_before_a_module_of_the_project(project, name):
    project.write(name, "")
    project.write("flows/workflow.py", "")
    assert "asyncio" not in prepared(project, workflow="flows/workflow.py")


@pytest.mark.parametrize(
    "name",
    ["app/__init__.py", "app/logging.py", "notes/queue.txt", ".venv/lib/queue.py", "os.py", "queues.py", "email/a.txt"],
)
def test_other_names_keep_nothing_out(project, name):
    project.write("app/__init__.py", "")
    project.write(name, "")
    assert "asyncio" in prepared(project)


@pytest.mark.parametrize(
    "word",
    ["os.environ['OPENSSL_CONF'] = 'x'", "sys.path.insert(0, 'lib')", "from sys import path", "site.addsitedir('x')"],
)
@pytest.mark.parametrize("name", ["net.py", "app/deep/er/net.py", "lib/net.py"])
def test_a_word_that_decides_about_modules_keeps_the_library_out(project, name, word):
    project.write("app/__init__.py", "")
    project.write(name, f"import os, site, sys\n{word}\n")
    assert "ssl" not in prepared(project)


def test_folders_that_lead_elsewhere_are_not_followed(project, tmp_path_factory):
    (project.folder / "linked").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    assert "asyncio" not in prepared(project)


def test_a_project_that_is_too_large_to_look_through_is_left_alone(project):
    for number in range(4_001):
        (project.folder / f"{number}.txt").touch()
    assert "asyncio" not in prepared(project)


def test_a_project_that_decides_how_openssl_is_loaded_does_so(project):
    project.steps(
        """
        import os
        os.environ["OPENSSL_CONF"] = os.path.abspath("openssl.cnf")
        import ssl
        @workflow.step
        def step(context):
            return bool(ssl.create_default_context().options & 0x40000)
        """
    )
    project.write(
        "openssl.cnf",
        """
        openssl_conf = all
        [all]
        ssl_conf = tls
        [tls]
        system_default = default
        [default]
        Options = UnsafeLegacyRenegotiation
        """,
    )
    outputs = []
    for ahead in (False, True):
        engine = project.engine()
        if ahead:
            engine.send({"type": "prepare", "project": project.path, "workflow": "workflow.py"})
            # It looks at frames in their order, so it is as ready as it will be.
            engine.describe(project.path, "absent.py")
        engine.start(project.path, "workflow.py", "step")
        outputs.append(engine.end()["output"])
    assert outputs == [True, True]


def test_a_module_of_the_project_is_the_one_that_a_step_gets(project):
    project.write("lib/queue.py", "WHOSE = 'the project'\n")
    project.steps(
        """
        import sys
        sys.path.insert(0, "lib")
        import queue
        @workflow.step
        async def step(context):
            return queue.WHOSE
        """
    )
    for ahead in (False, True):
        engine = project.engine()
        if ahead:
            engine.send({"type": "prepare", "project": project.path, "workflow": "workflow.py"})
        engine.start(project.path, "workflow.py", "step")
        assert engine.end()["output"] == "the project", ahead


def test_no_line_of_the_project_runs_before_the_order(project):
    project.steps(
        """
        import os, pathlib
        pathlib.Path("ran").write_text("it did")
        @workflow.step
        async def step(context):
            return "done"
        """
    )
    engine = project.engine()
    engine.send({"type": "prepare", "project": project.path, "workflow": "workflow.py"})
    # The runner looks at frames in their order: what it answers now comes after whatever it prepared.
    assert engine.describe(project.path, "absent.py")["type"] == "failed"
    assert not (project.folder / "ran").exists()
    engine.start(project.path, "workflow.py", "step")
    assert engine.end()["output"] == "done"
    assert (project.folder / "ran").exists()


def test_a_folder_that_cannot_be_entered_is_told_of_by_the_order(project):
    engine = project.engine()
    engine.send({"type": "prepare", "project": "/nowhere/at/all", "workflow": "workflow.py"})
    engine.start("/nowhere/at/all", "workflow.py", "step")
    assert engine.end()["error"]["code"] == "WFLO-1506"


COMPILED = """
import builtins, json, pathlib, sys
from wflo.runner import ahead, loader
class Channel:
    def pending(self): return False
project, change = sys.argv[1:3]
ahead.prepare(Channel(), project, "workflow.py")
print(json.dumps(loader._compiled is not None))
if change == "change":
    file = pathlib.Path(project, "workflow.py")
    file.write_text(file.read_text().replace("'before'", "'after'"))
compiled, original = [], builtins.compile
builtins.compile = lambda source, path, *rest, **more: compiled.append(path) or original(source, path, *rest, **more)
workflow = loader.load(project, "workflow.py")
print(json.dumps([workflow.step_named("step").function(None), [str(path).endswith("workflow.py") for path in compiled]]))
"""


def compiled(project, change: str = "") -> tuple[bool, list, str]:
    """Whether the workflow was compiled ahead, what its step gives and what was compiled again, and what was said."""
    done = ran(COMPILED, project.path, change)
    ahead, loaded = done.stdout.splitlines()
    return json.loads(ahead), json.loads(loaded), done.stderr


STEP = "@workflow.step\ndef step(context):\n    return 'before'\n"


def test_a_workflow_is_compiled_once_and_anew_when_it_has_changed(project):
    project.steps(STEP)
    assert compiled(project) == (True, ["before", []], "")
    assert compiled(project, "change") == (True, ["after", [True]], "")


def test_what_python_says_of_a_source_is_said_with_the_order(project):
    project.steps(STEP + "assert (1, 'always')\n")
    ahead, loaded, said = compiled(project)
    assert not ahead and loaded == ["before", [True]]
    assert said.count("SyntaxWarning") == 1, said


def test_a_source_that_is_none_is_told_of_by_the_order(project):
    project.write("workflow.py", "def step(:\n")
    engine = project.engine()
    engine.send({"type": "prepare", "project": project.path, "workflow": "workflow.py"})
    failed = engine.describe(project.path, "workflow.py")
    assert failed["type"] == "failed" and "SyntaxError" in json.dumps(failed), failed

"""The next step's sandbox, made while a step runs: who gets it, who does not, and that nothing of it is left.

Each step waits at a gate on the host, so that the test sees what there is before it goes on.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from project import Project, Running, wait_for

import wflo

HEAD = """
import pathlib

def born():
    "When this process began, and now, in seconds since the start of its clock."
    fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return float(fields[19]) / os.sysconf("SC_CLK_TCK"), time.clock_gettime(time.CLOCK_BOOTTIME)

def gate(name):
    pathlib.Path("/gate", name + "-is-here").write_text("")
    while not pathlib.Path("/gate", name).exists():
        time.sleep(0.01)

LOADED = time.time()
"""
TWO = """
@workflow.step
def first(context):
    gate("first")
    return time.time()

@workflow.step(depends_on=["first"])
async def second(context):
    began, now = born()
    return {"loaded": LOADED, "age": now - began, "hash": hash("text"), "files": sorted(os.listdir()), "inputs": context.inputs}
"""


@pytest.fixture
def gate(project: Project, tmp_path: Path) -> Path:
    """A folder that the steps see as `/gate`."""
    folder = tmp_path / "gate"
    folder.mkdir()
    folder.chmod(0o777)
    project.write_settings(f'\n[sandbox]\nrw = ["{folder}:/gate"]\n')
    return folder


@pytest.fixture
def containers(project: Project, gate: Path) -> Iterator[None]:
    """Steps run in containers of a Docker daemon of the test's own."""
    if os.geteuid() or not shutil.which("dockerd"):
        pytest.skip("a Docker daemon of one's own needs root and dockerd (apt-get install docker.io)")
    script = Path(__file__).resolve().parents[2] / "scripts" / "test_dockerd.sh"
    with subprocess.Popen([script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdin and daemon.stdout
        project.environment["DOCKER_HOST"] = daemon.stdout.readline().strip()
        # Of the system: of others, folders would have to be shown without what is hidden in them.
        project.environment["WFLO_PYTHON"] = "/usr/bin/python3"
        project.environment["PYTHONPATH"] = str(Path(wflo.__file__).parents[1])
        project.write_settings('backend = "docker"\n')
        yield
        daemon.stdin.close()


def runners(project: Project) -> list[str]:
    return [process for process in project.processes() if "wflo.runner" in process]


def held(project: Project, gate: Path, step: str) -> None:
    """The step stands at its gate."""
    wait_for(lambda: (gate / f"{step}-is-here").exists(), f"{step} begins")


def standby(project: Project, gate: Path, step: str) -> str:
    """The step stands at its gate, and the next one's sandbox is there: its runner."""
    held(project, gate, step)
    before = set(runners(project))
    wait_for(lambda: len(runners(project)) == 2, f"there is another runner while {step} runs: {before}")
    newest = max(runners(project), key=lambda process: int(process.partition(":")[0]))
    return newest.partition(":")[0]


def finished(running: Running) -> dict:
    done = running.finish()
    assert done.run["status"] == "completed", done
    return done.run


def test_a_step_begins_in_a_sandbox_that_waits_for_it(project: Project, gate: Path) -> None:
    project.steps(HEAD + TWO)
    running = project.start("run", "--input", "a=1")
    standby(project, gate, "first")
    time.sleep(2)
    (gate / "first").touch()
    of = finished(running)["outputs"]
    second = of["second"]
    # Its process was there all the while, and no line of its module has run before its turn.
    assert second["age"] >= 2 and second["loaded"] >= of["first"]
    assert second["inputs"] == {"a": 1} and second["files"] == ["wflo.toml", "workflow.py"]
    assert runners(project) == []


@pytest.mark.usefixtures("containers")
def test_so_it_is_in_containers(project: Project, gate: Path) -> None:
    project.steps(
        HEAD
        + TWO.replace('@workflow.step(depends_on=["first"])', '@workflow.step(name="standby-0", depends_on=["first"])')
    )
    running = project.start("run")
    standby(project, gate, "first")
    time.sleep(2)
    (gate / "first").touch()
    second = finished(running)["outputs"]["standby-0"]
    assert second["age"] >= 2
    wait_for(lambda: not runners(project), "nothing of the run is left")


def test_what_a_step_wrote_is_there_for_the_next(project: Project, gate: Path) -> None:
    project.steps(HEAD + TWO.replace('gate("first")', 'gate("first"); pathlib.Path("written").write_text("w")'))
    running = project.start("run")
    standby(project, gate, "first")
    (gate / "first").touch()
    assert "written" in finished(running)["outputs"]["second"]["files"]


def test_a_set_has_one_order_in_all_steps_and_on_resume(project: Project, gate: Path) -> None:
    project.steps(
        HEAD
        + """
@workflow.step
def first(context):
    gate("first")
    return hash("text")

@workflow.step(depends_on=["first"])
def second(context):
    gate("second")
    return hash("text")
"""
    )
    running = project.start("run")
    run = running.until("run.started")["run_id"]
    standby(project, gate, "first")
    (gate / "first").touch()
    held(project, gate, "second")
    running.kill()
    running.finish()
    wait_for(lambda: not project.processes(), "nothing of a killed engine is left")
    (gate / "second").touch()
    assert project.call("runs", "resume", run).code == 0
    of = project.show(run)["outputs"]
    assert of["first"] == of["second"]


@pytest.mark.parametrize("end", ["fails", "is cancelled", "is killed", "shuts down"])
def test_nothing_is_left_of_one_that_nobody_took(project: Project, gate: Path, end: str) -> None:
    raises = 'gate("first"); raise ValueError("no")' if end == "fails" else 'gate("first")'
    project.steps(HEAD + TWO.replace('gate("first")', raises))
    running = project.start("run")
    run = running.until("run.started")["run_id"]
    pid = standby(project, gate, "first")
    if end == "fails":
        (gate / "first").touch()
    elif end == "is cancelled":
        assert project.call("runs", "cancel", run).code == 0
    else:
        running.kill(signal.SIGKILL if end == "is killed" else signal.SIGTERM)
    while (event := running.next()) is not None:
        if event["type"] in ("run.failed", "run.cancelled"):
            # Nothing of a run is alive when it is said to be over.
            assert not Path("/proc", pid).exists()
    running.finish()
    wait_for(lambda: not project.processes(), "nothing is left")


LINE = """
def work(name):
    gate(name)
    pathlib.Path(name).write_text("what the next one's sandbox does not have")

@workflow.step
def s0(context): work("s0")
"""


def test_one_that_is_made_for_nothing_twice_is_made_no_more(project: Project, gate: Path) -> None:
    steps = [f'@workflow.step(depends_on=["s{n - 1}"])\ndef s{n}(context): work("s{n}")\n' for n in range(1, 6)]
    project.steps(HEAD + LINE + "\n".join(steps))
    running = project.start("run")
    for name in ("s0", "s1"):
        standby(project, gate, name)
        (gate / name).touch()
    for name in ("s2", "s3", "s4"):
        held(project, gate, name)
        # Its own runner has said hello by now; one for the next step would be on its way.
        time.sleep(0.5)
        assert len(runners(project)) == 1, name
        (gate / name).touch()
    held(project, gate, "s5")
    (gate / "s5").touch()
    finished(running)


def made_anew(folder: Path) -> None:
    shutil.move(folder, folder.with_name("old"))
    shutil.copytree(folder.with_name("old"), folder)
    (folder / "new").write_text("new")


def left_as_it_is(folder: Path) -> None:
    (folder / "new").write_text("new")


@pytest.mark.parametrize("change", [made_anew, left_as_it_is])
def test_a_shown_folder_is_the_one_that_stands_there(
    project: Project, gate: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    project.write_settings(f'ro = ["{shown}:/shown"]\n')
    project.steps(HEAD + TWO.replace("os.listdir()", 'os.listdir("/shown")'))
    running = project.start("run")
    standby(project, gate, "first")
    change(shown)
    (gate / "first").touch()
    assert finished(running)["outputs"]["second"]["files"] == ["new"]


def test_a_hidden_file_that_came_meanwhile_is_hidden(project: Project, gate: Path) -> None:
    subprocess.run(["git", "init", "-q", "."], cwd=project.folder, check=True)
    project.write(".gitignore", "node_modules/\n")
    package = project.folder / "node_modules" / "package"
    package.mkdir(parents=True)
    for number in range(2500):  # so many that they are not copied
        (package / f"file-{number}.js").write_text("x")
    shown = 'sorted(name for name in os.listdir("node_modules/package") if not name.startswith("file-"))'
    project.steps(HEAD + TWO.replace("sorted(os.listdir())", shown))
    running = project.start("run")
    standby(project, gate, "first")
    (package / ".env").write_text("SECRET=1\n")
    (package / "more.js").write_text("")
    (gate / "first").touch()
    assert finished(running)["outputs"]["second"]["files"] == ["more.js"]


def test_a_package_that_was_installed_meanwhile_is_there(project: Project, gate: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    python = os.path.realpath(sys.executable)
    subprocess.run([python, "-m", "venv", "--without-pip", str(venv)], check=True)
    site = next((venv / "lib").glob("python*/site-packages"))
    (site / "source").mkdir()
    (site / "source" / "extra.py").write_text("X = 1\n")
    project.environment["WFLO_PYTHON"] = str(venv / "bin" / "python")
    project.environment["PYTHONPATH"] = str(Path(wflo.__file__).parents[1])
    project.steps(HEAD + TWO.replace("    began, now", "    import extra\n    began, now"))
    running = project.start("run")
    standby(project, gate, "first")
    # Read by an interpreter when it starts.
    (site / "extra.pth").write_text("source\n")
    (gate / "first").touch()
    finished(running)


def test_no_module_of_the_project_is_taken_for_the_librarys(project: Project, gate: Path) -> None:
    for name in ("keyword", "operator", "select", "contextvars"):
        project.write(f"{name}.py", 'import pathlib\npathlib.Path("/gate/ran").write_text(__name__)\n')
    project.steps(HEAD + TWO)
    running = project.start("run")
    standby(project, gate, "first")
    (gate / "first").touch()
    finished(running)
    assert not (gate / "ran").exists()


def test_a_step_that_is_woken_again_and_again_makes_no_more_of_them(project: Project, gate: Path) -> None:
    project.steps(
        HEAD
        + """
@workflow.step
def first(context):
    for number in range(2):
        context.sleep(3)
    gate("first")

@workflow.step(depends_on=["first"])
def second(context): pass
"""
    )
    running = project.start("run")
    held(project, gate, "first")
    time.sleep(0.5)
    assert len(runners(project)) == 1
    (gate / "first").touch()
    finished(running)


def test_it_holds_no_model_and_is_billed_to_the_step_that_takes_it(project: Project, gate: Path) -> None:
    project.steps(
        HEAD
        + """
@workflow.step
def first(context):
    gate("first")

@workflow.step(depends_on=["first"])
def second(context):
    import json, urllib.request
    body = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "hello"}]}
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]},
    )
    return json.loads(urllib.request.urlopen(request).read())["choices"][0]["message"]["content"]
"""
    )
    running = project.start("run")
    standby(project, gate, "first")
    (gate / "first").touch()
    done = running.finish()
    assert done.run["status"] == "completed", done
    calls = done.of("effect.finished", kind="llm")
    assert [call["step"] for call in calls] == ["second"], done


def test_a_step_that_people_are_asked_about_has_none(project: Project, gate: Path) -> None:
    project.steps(
        HEAD
        + TWO.replace(
            '@workflow.step(depends_on=["first"])',
            '@workflow.step(depends_on=["first"], approval=ApprovalPolicy(required=True, when="start"))',
        )
    )
    running = project.start("run")
    held(project, gate, "first")
    time.sleep(0.5)
    assert len(runners(project)) == 1
    (gate / "first").touch()
    running.until("run.waiting")


def test_a_run_that_waits_keeps_none(project: Project, gate: Path) -> None:
    project.steps(HEAD + TWO.replace('gate("first")', 'gate("first"); context.sleep(86_400)'))
    running = project.start("run")
    standby(project, gate, "first")
    (gate / "first").touch()
    running.until("run.waiting")
    # Long before it would be ended for having been kept too long.
    wait_for(lambda: not runners(project), "no sandbox is kept", seconds=30)

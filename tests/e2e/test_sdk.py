"""`workflow.run_sync()` in a user's script: what reaches the run, and what is refused with its reason."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from project import DEADLINE, ROOT, Done, Project

FLOW = """
import os, sys, time
import wflo
from wflo import Workflow

workflow = Workflow("scripted", inputs={"n": {"type": "integer", "default": 1}})


@workflow.step
def work(context):
    (context.workspace / "made.txt").write_text("made")
    return context.inputs["n"] + 1

"""
REPORT = """
def main(**options):
    try:
        print("RESULT", workflow.run_sync({"n": 4}, **options).outputs)
    except wflo.WorkflowInvalid as error:
        print("REFUSED", error.code, error.exit_code)
        print(error.message)
        print(error.hint)

"""


def script(project: Project, tail: str, cwd: Path | None = None, name: str = "workflow.py", **env: str) -> Done:
    """Runs a workflow's file as a script that ends with `tail`."""
    path = project.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FLOW + REPORT + textwrap.dedent(tail))
    return python(project, str(path), cwd=cwd, **env)


def python(project: Project, *arguments: str, cwd: Path | None = None, **env: str) -> Done:
    paths = [str(ROOT / "python")] if "WFLO_BIN" in os.environ else []
    paths += [env.pop("PYTHONPATH")] if "PYTHONPATH" in env else []
    environment = {**project.environment, "WFLO_BIN": str(project.wflo), **env}
    if paths:
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd or project.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    return Done(done)


def runs(project: Project) -> list[dict]:
    return project.call("runs", "list", "--json").events


@pytest.mark.parametrize(
    ("added", "named"),
    [
        ("workflow.set_budget(max_cost_usd='0.000001')", "budget per run: $0.000001 in the calling script, none in"),
        ("workflow.add_policy(wflo.Policy('p', 'true', [wflo.Deny('no')]))", "policy `p`: one in the calling script"),
        ("workflow.configure_sandbox(memory_limit='64m')", 'sandbox memory_limit: "64m" in the calling script, none'),
        ("workflow.step(lambda context: 1, name='x') if 0 else workflow.step(name='x')(work)", "step `x`: one in the"),
        ("workflow.version = '2'", 'version: "2" in the calling script, none in workflow.py'),
    ],
)
def test_what_a_script_adds_below_its_guard_is_refused_and_named(project: Project, added: str, named: str) -> None:
    done = script(project, f"if __name__ == '__main__':\n    {added}\n    main()\n")
    said = done.out.splitlines()
    assert said[0] == "REFUSED WFLO-1032 2", done
    assert named in said[1] and "workflow.py" in said[1], done
    assert "module level" in said[2], done
    # The reason is raised, and not printed beside it.
    assert done.err == "", done
    assert runs(project) == []


def test_what_an_importing_script_adds_is_refused(project: Project) -> None:
    script(project, "")
    caller = project.folder / "caller.py"
    caller.write_text("import workflow\nworkflow.workflow.set_budget(3)\nworkflow.main()\n")
    done = python(project, str(caller))
    assert "REFUSED WFLO-1032" in done.out and "budget per run: $3.00" in done.out, done


def test_a_setting_that_is_not_in_this_release_is_refused_wherever_it_was_made(project: Project) -> None:
    done = script(
        project, "if __name__ == '__main__':\n    workflow.configure_sandbox(network_enabled=True)\n    main()"
    )
    assert "REFUSED WFLO-1010 2" in done.out, done


@pytest.mark.parametrize(
    "tail",
    [
        "workflow.set_budget(5)\nif __name__ == '__main__':\n    main()\n",
        "workflow.set_budget(5)\nmain()\n",
        "workflow.set_budget(5.0, per='day')\nworkflow.configure_sandbox(memory_limit=2**29)\nmain()\n",
    ],
)
def test_the_same_definition_in_both_runs(project: Project, tail: str) -> None:
    done = script(project, tail)
    assert "RESULT {'work': 5}" in done.out, done


def test_a_value_of_the_clock_is_named_and_not_run_with_another(project: Project) -> None:
    done = script(project, "workflow.version = str(time.time_ns())\nmain()\n")
    assert "REFUSED WFLO-1032" in done.out and "version: " in done.out, done
    assert "is an input" in done.out, done


def test_a_value_of_the_environment_needs_to_be_passed_through(project: Project) -> None:
    tail = "workflow.set_budget(os.environ.get('LIMIT', '9'))\nmain()\n"
    done = script(project, tail, LIMIT="2")
    assert "budget per run: $2.00 in the calling script, $9.00 in workflow.py" in done.out, done
    with (project.folder / "wflo.toml").open("a") as settings:
        settings.write('\n[sandbox]\nenv = ["LIMIT"]\n')
    done = script(project, tail, LIMIT="2")
    assert "RESULT {'work': 5}" in done.out, done


@pytest.mark.parametrize("how", ["file", "module", "package"])
def test_a_flow_is_found_from_any_folder(project: Project, tmp_path: Path, how: str) -> None:
    (project.folder / "wflo.toml").unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if how == "file":
        done = script(project, "if __name__ == '__main__':\n    main()\n", cwd=elsewhere)
    else:
        name, module = ("agents/flow.py", "agents.flow") if how == "package" else ("flow.py", "flow")
        script(project, "", name=name)
        code = f"import {module} as flow; flow.main()"
        done = python(project, "-c", code, cwd=elsewhere, PYTHONPATH=str(project.folder))
    assert "RESULT {'work': 5}" in done.out, done
    assert list(elsewhere.iterdir()) == []
    assert (project.folder / ".wflo").is_dir()


def test_the_folder_with_the_settings_is_the_project(project: Project, tmp_path: Path) -> None:
    done = script(project, "if __name__ == '__main__':\n    main()\n", cwd=tmp_path, name="flows/nightly.py")
    assert "RESULT" in done.out, done
    assert not (project.folder / "flows" / ".wflo").exists()
    assert (project.folder / ".wflo").is_dir()


def test_another_project_can_be_named(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (project.folder / "wflo.toml").unlink()
    done = script(project, f"if __name__ == '__main__':\n    main(project={str(project.folder.parent)!r})\n", cwd=other)
    assert "RESULT" in done.out, done
    assert (project.folder.parent / ".wflo").is_dir()


def test_a_refused_option_says_why(project: Project) -> None:
    tail = """
    if __name__ == "__main__":
        try:
            workflow.run_sync(sandbox="gvisor")
        except wflo.RunNotStarted as error:
            print(type(error).__name__, error.code, error.exit_code, "gVisor" in error.message, bool(error.hint))
    """
    done = script(project, tail)
    assert done.out == "RunNotStarted WFLO-8004 2 True True\n", done
    assert done.err == "", done


def test_an_error_in_on_event_leaves_a_run_that_goes_on(project: Project) -> None:
    tail = """
    @workflow.step
    async def wait(context):
        (context.workspace / "waits.txt").write_text("x")
        await context.approve("sure?")

    def fail(event):
        if event["type"] == "approval.requested":
            raise ZeroDivisionError("mine")

    if __name__ == "__main__":
        try:
            workflow.run_sync(on_event=fail)
        except ZeroDivisionError as error:
            print("RAISED", error, *getattr(error, "__notes__", []))
    """
    done = script(project, tail)
    assert "RAISED mine" in done.out, done
    run = runs(project)[0]
    if sys.version_info >= (3, 11):
        assert f"wflo runs resume {run['id']}" in done.out, done
    assert run["status"] in ("running", "waiting"), run
    resumed = project.call("approvals", "approve", "latest")
    assert resumed.code == 0, resumed
    assert project.show("latest")["status"] == "completed"


def test_a_policy_of_the_sdk_denies(project: Project) -> None:
    project.steps("""
        workflow.add_policy(Policy("no", "true", [Deny("not today")]))

        @workflow.step
        async def tell(context):
            ask = [{"role": "user", "content": "hello"}]
            await context.llm.chat(model="m", messages=ask, max_tokens=5)
    """)
    done = project.run()
    assert done.code == 3 and "not today" in done.run["error"]["message"], done


def test_a_python_path_with_the_project_in_it_shows_no_live_files(project: Project) -> None:
    project.write(".env", "KEY=live")
    project.write("words.py", "HELLO = 'hello'")
    project.steps("""
        from words import HELLO

        @workflow.step
        def look(context):
            (context.workspace / "made.txt").write_text(HELLO)
            return sorted(os.listdir(context.workspace)), os.path.exists(context.workspace / ".env")
    """)
    link = project.folder.parent / "link"
    link.symlink_to(project.folder)
    for path in (project.folder, project.folder.parent, link):
        paths = [project.environment.get("PYTHONPATH", ""), str(path)]
        done = project.run(PYTHONPATH=os.pathsep.join(filter(None, paths)))
        assert done.code == 0, done
        names, sees = done.run["outputs"]["look"]
        assert "made.txt" in names and not sees, done
    assert not (project.folder / "made.txt").exists()

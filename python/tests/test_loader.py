"""Loading: scripts as people write them, and errors that say what to do."""

from __future__ import annotations

SAMPLE = """
from wflo import Workflow
workflow = Workflow("sample")
@workflow.step
def step(context):
    return "ran"
"""


def names(frame):
    assert frame["type"] == "definition", frame
    return [step["name"] for step in frame["definition"]["steps"]]


def failed(frame, code=None):
    assert frame["type"] == "failed", frame
    if code:
        assert frame["error"]["code"] == code, frame
    return frame["error"]


def test_plain_file(project):
    project.write("workflow.py", SAMPLE)
    frame = project.describe()
    assert names(frame) == ["step"]
    assert frame["files"] == ["workflow.py"]
    assert frame["interpreter"].startswith("cpython-3.")
    assert frame["definition"]["steps"][0]["place"] == "workflow.py:3"


def test_run_at_the_top_level_ends_the_import(project):
    for call in (
        "workflow.run_sync()",
        "workflow.submit()",
        "result = await workflow.run()",
        "import asyncio\nasyncio.run(workflow.run())",
        "import asyncio\nasync def main():\n    await workflow.run(inputs={'a': 1})\nasyncio.run(main())",
        "try:\n    workflow.run_sync()\nexcept Exception as error:\n    print(error)",
    ):
        project.write("workflow.py", SAMPLE + call + "\nraise SystemExit('not reached')\n")
        assert names(project.describe()) == ["step"], call
        engine = project.start()
        assert engine.end()["output"] == "ran", call


def test_top_level_await_of_something_else_gets_an_event_loop(project):
    project.write(
        "workflow.py",
        "import asyncio\nvalue = await asyncio.sleep(0.001, 'x')\n" + SAMPLE + "await workflow.run()\n",
    )
    assert names(project.describe()) == ["step"]


def test_the_main_guard_is_not_entered(project):
    project.write("workflow.py", SAMPLE + 'if __name__ == "__main__":\n    raise SystemExit("entered")\n')
    assert names(project.describe()) == ["step"]


def test_a_workflow_made_below_the_guard_is_found(project):
    project.write(
        "workflow.py",
        """
        from wflo import Workflow
        def main():
            workflow = Workflow("inside")
            @workflow.step
            def step(context):
                return "inside"
            workflow.run_sync()
        if __name__ == "__main__":
            main()
        """,
    )
    assert names(project.describe()) == ["step"]
    assert project.start().end()["output"] == "inside"


def test_modules_and_attributes(project):
    project.write("pkg/__init__.py", "")
    project.write("pkg/flows.py", SAMPLE + "second = Workflow('second')\nfrom . import helper\n")
    project.write("pkg/helper.py", "import json\n")
    frame = project.describe("pkg.flows:second")
    assert frame["definition"]["name"] == "second"
    assert frame["files"] == ["pkg/__init__.py", "pkg/flows.py", "pkg/helper.py"]
    assert project.describe("pkg/flows.py:workflow")["type"] == "failed"  # relative import from a script
    assert names(project.describe("pkg.flows:workflow")) == ["step"]
    project.workflow = "pkg.flows:workflow"
    assert project.start().end()["output"] == "ran"


def test_a_module_that_runs_itself(project):
    project.write("flows.py", SAMPLE + "workflow.run_sync()\n")
    assert names(project.describe("flows")) == ["step"]


def test_modules_beside_the_script_are_found_and_counted(project):
    project.write("flows/main.py", SAMPLE + "import beside\nimport lib.deep\n")
    project.write("flows/beside.py", "")
    project.write("flows/lib/deep.py", "")
    frame = project.describe("flows/main.py")
    assert frame["files"] == ["flows/beside.py", "flows/lib/deep.py", "flows/main.py"]


def test_installed_packages_are_not_project_files(project):
    project.write(".venv/lib/python3/site-packages/dep.py", "")
    source = "import sys; sys.path.append('.venv/lib/python3/site-packages')\nimport dep\n"
    project.write("workflow.py", source + SAMPLE)
    assert project.describe()["files"] == ["workflow.py"]


def test_importing_leaves_nothing_behind(project):
    project.write("workflow.py", SAMPLE + "import beside\n")
    project.write("beside.py", "")
    project.describe()
    assert sorted(path.name for path in project.folder.iterdir()) == ["beside.py", "workflow.py"]


def test_several_workflows_must_be_named(project):
    project.write("workflow.py", SAMPLE + "other = Workflow('other')\n")
    error = failed(project.describe(), "WFLO-1505")
    assert "workflow, other" in error["message"]
    assert "wflo run workflow.py:workflow" in error["hint"]
    assert names(project.describe("workflow.py:workflow")) == ["step"]


def test_the_one_that_runs_is_the_one(project):
    project.write("workflow.py", SAMPLE + "other = Workflow('other')\nother.run_sync()\n")
    assert project.describe()["definition"]["name"] == "other"


def test_errors_name_what_is_missing(project):
    project.write("empty.py", "x = 1\n")
    said = failed(project.describe("empty.py"), "WFLO-1504")
    assert "has no workflow" in said["message"] and "`wflo run -- python empty.py`" in said["hint"]
    assert "cannot be read" in failed(project.describe("missing.py"), "WFLO-1506")["message"]
    assert "there is no module nope" in failed(project.describe("nope"), "WFLO-1506")["message"]
    project.write("workflow.py", SAMPLE)
    assert "is not defined" in failed(project.describe("workflow.py:nope"), "WFLO-1506")["message"]
    error = failed(project.describe("workflow.py:step"), "WFLO-1506")
    assert "is a function, not a Workflow" in error["message"]
    assert "workflow" in error["hint"]


def test_a_syntax_error_has_its_place(project):
    project.write("workflow.py", "x = 1\ndef broken(:\n")
    error = failed(project.describe())
    assert error["type"] == "SyntaxError"
    assert error["place"] == "workflow.py:2"
    assert "def broken(:" in error["traceback"]


def test_an_error_at_import_is_shown_at_the_users_lines_only(project):
    project.write("workflow.py", "import lib\n")
    project.write("lib.py", "def f():\n    return 1 / 0\nf()\n")
    error = failed(project.describe())
    assert error["place"] == "lib.py:2"
    assert "wflo" not in error["traceback"].replace(project.path, "").replace("workflow.py", "")
    assert "return 1 / 0" in error["traceback"]


def test_a_missing_import_is_the_users_error(project):
    project.write("workflow.py", "import not_installed_anywhere\n")
    error = failed(project.describe())
    assert error["type"] == "ModuleNotFoundError"
    assert error["place"] == "workflow.py:1"


def test_sys_exit_at_import_is_explained(project):
    project.write("workflow.py", "import sys\nsys.exit(3)\n")
    assert "called sys.exit(3)" in failed(project.describe(), "WFLO-1506")["message"]


def test_the_script_sees_what_python_would_give_it(project):
    project.write(
        "workflow.py",
        SAMPLE.replace('return "ran"', "return SEEN")
        + "import sys, os\nSEEN = [sys.argv, sys.path[0], __file__, os.getcwd(), 'WFLO_RUNNER_FD' in os.environ]\n",
    )
    path = project.path
    expected = [[f"{path}/workflow.py"], path, f"{path}/workflow.py", path, False]
    assert project.start().end()["output"] == expected


def test_dataclasses_and_pickles_work_in_the_script(project):
    project.write(
        "workflow.py",
        """
        from __future__ import annotations
        import dataclasses, pickle, typing
        from wflo import Workflow
        workflow = Workflow("x")
        @dataclasses.dataclass
        class Row:
            n: int
        @workflow.step
        def step(context):
            return [pickle.loads(pickle.dumps(Row(3))).n, str(typing.get_type_hints(Row)["n"])]
        """,
    )
    assert project.start().end()["output"] == [3, "<class 'int'>"]


def test_definitions_can_be_asked_for_twice_and_then_run(project):
    project.write("workflow.py", SAMPLE)
    engine = project.engine()
    assert names(engine.describe(project.path, "workflow.py")) == ["step"]
    assert names(engine.describe(project.path, "workflow.py")) == ["step"]
    engine.start(project.path, "workflow.py", "step")
    assert engine.end()["output"] == "ran"

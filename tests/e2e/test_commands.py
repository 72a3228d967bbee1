"""Commands beside `run`: a new project, a sandbox, what is refused."""

import json
import socket
import subprocess
import sys
from pathlib import Path

from project import Project


def test_init_makes_a_project_that_runs_as_it_is(project: Project, tmp_path: Path) -> None:
    done = project.call("init", str(tmp_path / "my-agent"))
    assert done.code == 0, done
    made = project.at(tmp_path / "my-agent")
    assert {"wflo.toml", "workflow.py", "README.md", ".gitignore"} <= {p.name for p in made.folder.iterdir()}
    done = made.run()
    assert done.code == 0, done
    assert done.run["status"] == "completed"


def test_a_sandboxed_command_sees_no_host_and_no_network(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        done = project.call("sandbox", "exec", "--", "python3", "-c", code)
        assert done.code == 1 and "refused" in done.err, done
    done = project.call("sandbox", "exec", "--", "env", SECRET_TOKEN="sk-do-not-show")
    assert done.code == 0 and "sk-do-not-show" not in done.out, done
    done = project.call("sandbox", "exec", "--", "cat", "/etc/shadow")
    assert done.code == 1 and not done.out, done
    # By its command: a number of the host's may be any column inside.
    mark = f"of-the-host-{project.folder.parent.name}"
    with subprocess.Popen([sys.executable, "-c", "input()", mark], stdin=subprocess.PIPE) as outside:
        try:
            every = ["ps", "auxww"]
            assert mark in subprocess.run(every, check=True, capture_output=True, text=True).stdout
            done = project.call("sandbox", "exec", "--", *every)
            assert mark not in done.out and (done.code != 0 or "ps auxww" in done.out), done
        finally:
            outside.kill()


def test_a_sandbox_exits_with_the_codes_of_its_contract(project: Project) -> None:
    assert project.call("sandbox", "exec", "--", "sh", "-c", "exit 42").code == 42
    assert project.call("sandbox", "exec", "--timeout", "1s", "--", "sleep", "3600").code == 124
    eat = "x = bytearray(b'x' * (500 << 20))"
    assert project.call("sandbox", "exec", "--memory", "64m", "--", "python3", "-c", eat).code == 137


def test_a_workspace_is_a_view_that_is_thrown_away(project: Project) -> None:
    project.write("kept.txt", "old\n")
    here = str(project.folder)
    done = project.call("sandbox", "exec", "--workspace", here, "--", "sh", "-c", "echo new > kept.txt; cat kept.txt")
    assert (done.code, done.out) == (0, "new\n"), done
    assert (project.folder / "kept.txt").read_text() == "old\n"


def test_what_a_later_release_brings_is_refused_by_name(project: Project) -> None:
    project.steps("""
        workflow.configure_sandbox(network_enabled=True)

        @workflow.step
        def step(context):
            return 1
    """)
    done = project.run()
    assert done.code == 2, done
    assert "WFLO-1010" in done.out + done.err, done


def test_a_wrong_definition_and_a_wrong_input_end_with_2(project: Project) -> None:
    project.steps("""
        @workflow.step(depends_on=["nobody"])
        def step(context):
            return 1
    """)
    done = project.call("run")
    assert done.code == 2 and "nobody" in done.err and "error" in done.err, done
    project.write(
        "flow.yaml",
        """
        apiVersion: wflo.dev/v1
        kind: Workflow
        name: echo
        inputs: {text: {type: string, required: true}}
        steps:
          - {name: say, type: tool, run: [echo, "{{ inputs.text }}"]}
    """,
    )
    done = project.call("run", "flow.yaml")
    assert done.code == 2 and "text" in done.err, done
    done = project.run("flow.yaml", "--input", "text=hi")
    assert done.code == 0, done
    assert done.run["outputs"]["say"]["stdout"].strip() == "hi"


def test_errors_are_objects_for_scripts(project: Project) -> None:
    done = project.call("run", "missing.py", "--json")
    assert done.code == 2, done
    told = json.loads(done.out)
    assert told["error"]["code"] == "WFLO-8007" and told["error"]["hint"], told
    assert "error: " in done.err and "hint: " in done.err

"""A project, or a step whose files were brought in, gets nothing executed on the host and sees nothing of it."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from project import ROOT, Project

NOTHING = """
    @workflow.step
    def go(context):
        pass
"""

PLANTS = """
    @workflow.step
    def go(context):
        import os
        os.makedirs(".venv/bin")
        for name in [".venv/bin/python", "conftest.py", "tool", "package.json", "ordinary.txt"]:
            (context.workspace / name).write_text("#!/bin/sh\\n")
        os.chmod("tool", 0o777)
        os.chmod("ordinary.txt", 0o666)
"""

LOOKS = """
    @workflow.step
    def go(context):
        found = {}
        for path in %r:
            try:
                found[path] = open(path, "rb").read(20).decode()
            except OSError as error:
                found[path] = None
        open("written", "w")
        return found
"""


def script(path: Path, mark: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho ran > "{mark}"\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)


def environment(folder: Path) -> Path:
    """A virtual environment with the SDK in it; the folder of its packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = next((folder / "lib").glob("python3*/site-packages"))
    shutil.copytree(ROOT / "python/wflo", packages / "wflo", ignore=shutil.ignore_patterns("__pycache__"))
    return packages


@pytest.mark.parametrize("command", [["run", "--json"], ["doctor"]])
def test_a_projects_interpreter_is_not_executed_on_the_host(
    project: Project, tmp_path: Path, command: list[str]
) -> None:
    mark = tmp_path / "mark"
    for name in (".venv", "venv"):
        script(project.folder / name / "bin/python", mark)
    project.steps(NOTHING)
    del project.environment["WFLO_PYTHON"]
    project.call(*command)
    assert not mark.exists()


def test_a_projects_environment_runs_its_steps_in_the_sandbox(project: Project) -> None:
    packages = environment(project.folder / ".venv")
    (packages / "only_here.py").write_text("x = 1\n")
    # An editable install of the project itself.
    (packages / "self.pth").write_text(f"{project.folder / 'src'}\n")
    project.write("src/own.py", "y = 2\n")
    project.steps("""
    @workflow.step
    def go(context):
        import only_here, own
        return only_here.x + own.y
    """)
    del project.environment["WFLO_PYTHON"]
    project.environment.pop("PYTHONPATH", None)
    done = project.run()
    assert done.code == 0 and done.run["outputs"] == {"go": 3}, done


def test_what_a_path_file_points_at_is_not_shown_and_said(project: Project, tmp_path: Path) -> None:
    other, folder = tmp_path / "other", tmp_path / "env"
    other.mkdir()
    packages = environment(folder)
    (packages / "self.pth").write_text(f"{project.folder}\n{other}\n{tmp_path}\n")
    secrets = [other / ".env", folder / ".env", folder / "pip.conf", project.folder / ".env"]
    for secret in secrets:
        secret.write_text("SECRET")
    paths = [*map(str, secrets), str(project.folder / ".wflo/wflo.db")]
    project.steps(LOOKS % paths)
    project.environment["WFLO_PYTHON"] = str(folder / "bin/python")
    project.environment["PYTHONPATH"] = str(project.folder)
    done = project.run()
    assert done.code == 0 and done.run["outputs"] == {"go": dict.fromkeys(paths)}, done
    assert str(other) in done.of("run.notice", notice="interpreter.elsewhere")[0]["message"], done


def test_an_interpreter_without_the_sdk_says_so(project: Project, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    project.steps(NOTHING)
    project.environment["WFLO_PYTHON"] = str(tmp_path / "bare/bin/python")
    project.environment.pop("PYTHONPATH", None)
    done = project.call("run")
    assert "WFLO-3040" in done.err and "No module named 'wflo'" in done.err, done


def test_what_acts_by_itself_is_applied_only_when_it_is_named(project: Project) -> None:
    project.steps(PLANTS)
    done = project.run("--apply")
    assert done.code == 0, done
    folder = project.folder
    assert [p.name for p in folder.iterdir() if p.name in ("tool", "conftest.py", "package.json", ".venv")] == []
    done = project.call("apply", done.run["id"], "tool", "--yes")
    assert done.code == 0 and (folder / "tool").stat().st_mode & 0o7777 == 0o755, done
    assert not (folder / "conftest.py").exists()


def test_another_data_directory_shows_no_earlier_runs(project: Project, tmp_path: Path) -> None:
    project.steps(NOTHING)
    assert project.run().code == 0
    shutil.copy(project.folder / ".wflo/wflo.db", project.folder / "kept.db")
    with closing(sqlite3.connect(project.folder / "own.db")) as own:
        own.execute("CREATE TABLE t (x)")
    project.steps(LOOKS % [".wflo/wflo.db", "kept.db", "own.db"])
    project.environment["WFLO_DATA_DIR"] = str(tmp_path / "elsewhere")
    done = project.run()
    found = done.run["outputs"]["go"]
    assert (found[".wflo/wflo.db"], found["kept.db"]) == (None, None), done
    assert found["own.db"].startswith("SQLite format 3"), "a database of the project is not wflo's"


def test_a_data_folder_that_is_a_link_is_refused(project: Project, tmp_path: Path) -> None:
    project.steps(NOTHING)
    (tmp_path / "victim").mkdir()
    (project.folder / ".wflo").symlink_to(tmp_path / "victim")
    done = project.call("run")
    assert done.code == 2 and "WFLO-8015" in done.err, done
    assert list((tmp_path / "victim").iterdir()) == []


def test_a_fifo_among_gits_files_holds_nothing_up(project: Project) -> None:
    for name in (".git/config", ".git/info/exclude", ".gitignore"):
        (project.folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(project.folder / name)
    project.steps(NOTHING)
    assert project.run().code == 0


def test_a_socket_in_a_live_folder_is_not_reached(project: Project) -> None:
    project.write(".gitignore", "big/\n")
    (project.folder / ".git").mkdir()
    for index in range(2_100):
        project.write(f"big/f{index}", "x")
    project.steps("""
    @workflow.step
    def go(context):
        import socket
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect("big/d.sock")
            except OSError as error:
                return [open("big/f7").read(), type(error).__name__]
    """)
    with socket.socket(socket.AF_UNIX) as server:
        # Its full path may be longer than an address can be.
        here = os.open(project.folder / "big", os.O_PATH)
        server.bind(f"/proc/self/fd/{here}/d.sock")
        os.close(here)
        server.listen()
        (project.folder / "big/d.sock").chmod(0o777)
        done = project.run()
    assert done.run["outputs"] == {"go": ["x", "ConnectionRefusedError"]}, done


def test_a_folder_that_is_named_does_not_bring_its_secrets_along(project: Project, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "sub").mkdir(parents=True)
    (shared / ".aws").mkdir()
    for name in [".env", "sub/id_rsa", "sub/prod.env", ".aws/credentials", "model.bin", "sub/notes.txt"]:
        (shared / name).write_text("hunter2")
    project.write_settings(f"""
        [sandbox]
        hide = ["notes.txt"]
        ro = ["{shared}:/shared", "{shared}/.env:/named", "{shared}/.aws:/keys"]
    """)
    wanted = ["/shared/model.bin", "/named", "/keys/credentials"]
    hidden = [f"/shared/{name}" for name in (".env", "sub/id_rsa", "sub/prod.env", ".aws/credentials", "sub/notes.txt")]
    project.steps(LOOKS % (wanted + hidden))
    done = project.run()
    assert done.code == 0, done
    found = done.run["outputs"]["go"]
    assert {path for path, text in found.items() if text} == set(wanted), found


def test_a_name_that_appears_in_a_live_folder_is_hidden_in_its_root(project: Project) -> None:
    """The limit below the root is what docs/guides/workspace.md says."""
    project.write(".gitignore", "big/\n")
    (project.folder / ".git").mkdir()
    for index in range(2_100):
        project.write(f"big/sub/f{index}", "x")
    project.write("big/sub/id_rsa", "OLD")
    project.steps("""
    @workflow.step
    async def go(context):
        import os, time
        assert not os.path.exists("big/sub/id_rsa")
        await context.emit("ready", {})
        end = time.monotonic() + 100
        # By the listing: the kernel remembers of a name that was asked for that it is not there.
        while "appears" not in os.listdir("big/sub") and time.monotonic() < end:
            time.sleep(0.01)
        assert os.path.exists("big/sub/appears"), "a name that nobody has asked for before"
        return {name: os.path.exists(name) for name in ("big/.env", "big/.netrc", "big/sub/id_rsa", "big/sub/.env")}
    """)
    running = project.start("run")
    running.until("emitted")
    for name in ("new", ".env", ".netrc", "sub/.env"):
        project.write(f"big/{name}", "hunter2")
    (project.folder / "big/new").rename(project.folder / "big/sub/id_rsa")
    project.write("big/sub/appears", "")
    done = running.finish()
    seen = {"big/.env": False, "big/.netrc": False, "big/sub/id_rsa": False, "big/sub/.env": True}
    assert done.run["outputs"] == {"go": seen}, done

"""Programs that a limit ended, or that met a wall: what is said, what is kept, and what is paid again."""

import pytest
from model import MockModel
from project import Project
from test_programs import agent, latest, program


def test_a_program_that_met_a_limit_of_its_sandbox_is_told_which(project: Project) -> None:
    project.write_settings('[sandbox]\ndisk_limit = "4m"\nmemory_limit = "64m"\n')
    project.write("fill.py", "open('big', 'wb').write(bytes(8 << 20))\n")
    full = project.call("run", "--", "python3", "fill.py")
    assert full.code == 1 and "hint: its sandbox may write so much" in full.err, full
    project.write("eat.py", "held = []\nwhile True:\n    held.append(bytearray(b'x') * (1 << 20))\n")
    for command in (["python3", "eat.py"], ["sh", "-c", "python3 eat.py; exit $?"]):
        eaten = project.call("run", "--", *command)
        assert eaten.code == 137 and "used more memory than its sandbox may [WFLO-3007]" in eaten.err, eaten
        assert "hint: raise memory_limit under [sandbox]" in eaten.err, eaten


@pytest.mark.parametrize("action", ["halt", "ask"])
def test_a_program_whose_time_is_up_keeps_its_files(project: Project, action: str) -> None:
    project.write_settings(f'[budget]\nmax_seconds = "2s"\naction_on_exceeded = "{action}"\n')
    done = program(project, "sh", "-c", "echo made > before.txt; sleep 60")
    assert done.returncode == 4, done
    assert latest(project)["status"] == "halted"
    assert "before.txt" in project.call("diff", "latest").out


def test_what_a_program_had_paid_before_it_ran_out_of_memory_is_not_paid_again(
    project: Project, model: MockModel
) -> None:
    project.write_settings('[sandbox]\nmemory_limit = "128m"\n')
    source = "for n in range(3): ask(f'again {n}')\nheld = []\nwhile True: held.append(bytearray(b'x') * (1 << 20))"
    agent(project, source)
    for command in (["run", "--", "python3", "agent.py"], ["runs", "retry", "latest"]):
        done = project.call(*command)
        assert done.code == 137 and "WFLO-3007" in done.err, done
    assert model.asked() == {f"again {n}": 1 for n in range(3)}


def test_a_call_that_is_open_when_its_program_ends_does_not_keep_its_run(project: Project, model: MockModel) -> None:
    source = """
        import threading, time
        threading.Thread(target=ask, args=("held",), daemon=True).start()
        time.sleep(2)
    """
    agent(project, source)
    model.hold()
    try:
        done = program(project, "python3", "agent.py")
    finally:
        model.release()
    assert done.returncode == 0 and latest(project)["status"] == "completed", done


def test_what_a_script_calls_by_name_is_what_its_user_would_call(project: Project) -> None:
    tools = project.folder / "tools"
    tools.mkdir()
    (tools / "greet").write_text("#!/bin/sh\necho mine\n")
    (tools / "sh").symlink_to("/bin/sh")
    (tools / "greet").chmod(0o755)
    project.environment = {**project.environment, "PATH": f"{tools}:{project.environment['PATH']}"}
    done = program(project, "bash", "-c", "command -v sh; greet")
    assert done.stdout.decode().split() == [str(tools / "sh"), "mine"], done


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("git init -q . && git -c user.useConfigOnly=true commit -q --allow-empty -m x", "user.email"),
        ("echo gitdir: /nowhere/.git/worktrees/w > .git; git status", "`ro`"),
    ],
)
def test_what_git_misses_is_said(project: Project, script: str, said: str) -> None:
    done = program(project, "sh", "-c", script)
    assert done.returncode != 0 and said in done.stderr.decode().split("hint:", 1)[-1], done

"""Programs that know nothing of wflo: their streams, their ends, their files, their money."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest
from model import MockModel
from project import DEADLINE, Project, Running, approve, wait_for

AGENT = """
    import json, os, sys, urllib.request

    def ask(word):
        body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": word}]}
        request = urllib.request.Request(
            os.environ["OPENAI_BASE_URL"] + "/chat/completions",
            json.dumps(body).encode(),
            {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["choices"][0]["message"]["content"]
        except urllib.error.HTTPError as error:
            print("refused with", error.code, file=sys.stderr)
            sys.exit(9)
"""


def agent(project: Project, source: str, name: str = "agent.py") -> None:
    lines = source.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    body = "\n".join(line[indent:] for line in lines)
    project.write(name, AGENT)
    path = project.folder / name
    path.write_text(path.read_text() + body + "\n")


def program(
    project: Project, *argv: str, stdin: bytes = b"", flags: tuple[str, ...] = ()
) -> subprocess.CompletedProcess:
    """`wflo run FLAGS -- ARGV` with pipes, as bytes."""
    return subprocess.run(
        [project.wflo, "run", *flags, "--", *argv],
        cwd=project.folder,
        env=project.environment,
        input=stdin,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )


def shell(project: Project, script: str, stdin: bytes = b"", *flags: str) -> subprocess.CompletedProcess:
    return program(project, "sh", "-c", script, stdin=stdin, flags=flags)


def latest(project: Project) -> dict:
    return project.show("latest")


# Streams


def test_bytes_pass_through_unchanged_both_ways(project: Project) -> None:
    every = bytes(range(256)) * 2_000
    done = program(project, "cat", stdin=every)
    assert (done.returncode, done.stdout) == (0, every), done.stderr[-2000:]
    done = shell(project, "printf 'to \\033]52;c;eA==\\007 err' >&2; printf 'out\\n'")
    assert done.stdout == b"out\n" and b"to \x1b]52;c;eA==\x07 err" in done.stderr, done


def test_what_a_program_says_is_recorded_and_bounded(project: Project) -> None:
    done = shell(project, "echo first; seq 1 400000; echo last >&2")
    assert done.returncode == 0 and done.stdout.endswith(b"400000\n"), done.stderr[-2000:]
    events = project.events("latest")
    logged = [event for event in events if event["type"] == "log"]
    assert logged[0]["message"] == "first" and any(e["message"] == "last" and e["level"] == "stderr" for e in logged)
    assert sum(len(event["message"]) for event in logged) < 1 << 20
    assert any("left out" in event["message"] for event in logged)
    assert any(event["message"] == "400000" for event in logged), "the end is kept"


def test_a_slow_reader_slows_the_program_and_grows_no_memory(project: Project) -> None:
    process = subprocess.Popen(
        [project.wflo, "run", "--", "sh", "-c", "head -c 300000000 /dev/zero; echo end"],
        cwd=project.folder,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    try:
        first = process.stdout.read(1)
        assert first == b"\0"

        def memory() -> int:
            status = Path(f"/proc/{process.pid}/status").read_text()
            return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])

        before = memory()
        rest = b""
        count = 1
        while chunk := process.stdout.read(1 << 20):
            count += len(chunk)
            rest = chunk
        assert rest.endswith(b"end\n") and count == 300_000_004
        assert process.wait(DEADLINE) == 0
        assert before < 300_000, f"{before} KiB while nobody read"
    finally:
        process.kill()
        process.wait(DEADLINE)


def test_a_reader_that_goes_breaks_the_programs_pipe(project: Project) -> None:
    reading = f"'{project.wflo}' run -- yes | head -n 2"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {reading}"],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.stdout == b"y\ny\n", done
    assert done.returncode == 128 + signal.SIGPIPE, done


def test_with_json_standard_output_has_only_events(project: Project) -> None:
    done = project.run("--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert done.code == 3, done
    assert "out\n" in done.err and "err\n" in done.err
    assert done.run["status"] == "failed" and done.run["steps"][0]["exit_code"] == 3
    assert {event["message"] for event in done.of("log")} == {"out", "err"}


# Finding programs


def test_a_program_of_the_project_starts_where_it_was_named(project: Project) -> None:
    script = project.write("sub/here.sh", '#!/bin/sh\necho "$PWD" "$@"\n')
    script.chmod(0o755)
    done = subprocess.run(
        [project.wflo, "run", "--", "./here.sh", "a b", "{{ inputs.x }}"],
        cwd=project.folder / "sub",
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.stdout == f"{project.folder / 'sub'} a b {{{{ inputs.x }}}}\n", done


def test_a_virtual_environment_of_the_project_is_used(project: Project) -> None:
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", project.folder / ".venv"], check=True, timeout=DEADLINE
    )
    project.write(".gitignore", ".venv/\n")
    packages = next((project.folder / ".venv/lib").iterdir()) / "site-packages"
    (packages / "only_here.py").write_text("answer = 42\n")
    done = program(project, ".venv/bin/python", "-c", "import only_here; print(only_here.answer)")
    assert done.stdout == b"42\n", done


def test_what_cannot_be_found_is_refused_with_a_hint(project: Project) -> None:
    for name, hint in (("no-such-program", "install it"), ("./missing", "check its path"), ("./wflo.toml", "chmod +x")):
        done = project.call("run", "--", name)
        assert done.code == 127 and "WFLO-3103" in done.err and hint in done.err, done
    assert "run_" not in project.call("runs", "list", "--json").out, "nothing was begun"


def test_a_tool_of_the_home_folder_is_shown_and_nothing_beside_it(project: Project, tmp_path: Path) -> None:
    home = tmp_path / "home"
    tool = home / "tools/thing/bin/tool"
    tool.parent.mkdir(parents=True)
    tool.write_text(f"#!/bin/sh\ncat ../../secret {home}/secret 2>/dev/null; ls {home}\n")
    tool.chmod(0o755)
    (home / "secret").write_text("of the home folder\n")
    project.environment |= {"HOME": str(home), "PATH": f"{tool.parent}:{project.environment['PATH']}"}
    done = program(project, "tool")
    assert done.stdout == b"tools\n", done


def test_a_known_agent_without_a_provider_is_told_so_before_it_starts(project: Project) -> None:
    fake = project.write("bin/claude", "#!/bin/sh\necho started\n")
    fake.chmod(0o755)
    bare = project.at(project.folder)
    bare.environment = {**project.environment, "PATH": f"{fake.parent}:{project.environment['PATH']}"}
    (project.folder / "wflo.toml").write_text('[project]\nname = "e2e"\n')
    done = bare.call("run", "--", "claude")
    assert done.code == 2 and "WFLO-8102" in done.err and "ANTHROPIC_API_KEY" in done.err, done
    assert bare.call("run", "--", "claude", ANTHROPIC_API_KEY="sk-x").out == "started\n"
    # It is the same one by another name, and by whatever starts it.
    (project.folder / "bin/helper").symlink_to("claude")
    for name in ("npx", "pnpm"):
        project.write(f"bin/{name}", "#!/bin/sh\necho started\n").chmod(0o755)
    for command in (
        ["bin/helper"],
        [str(fake)],
        ["npx", "-y", "@anthropic-ai/claude-code@latest"],
        ["pnpm", "dlx", "claude-code"],
    ):
        done = bare.call("run", "--", *command)
        assert done.code == 2 and "WFLO-8102" in done.err and "claude would find no model" in done.err, (command, done)
        assert bare.call("run", "--", *command, ANTHROPIC_API_KEY="sk-x").out == "started\n", command
    assert bare.call("run", "--", "npx", "prettier", "claude").out == "started\n"


@pytest.mark.parametrize("backend", ["native", "none"])
def test_a_home_that_is_passed_through_is_left_as_it_is(project: Project, backend: str, tmp_path: Path) -> None:
    homes = [tmp_path / "home", tmp_path / "absent"]
    homes[0].mkdir()
    project.write_settings('[sandbox]\nenv = ["HOME"]\n')
    project.environment["XDG_STATE_HOME"] = str(tmp_path / "state")
    for home in homes:
        done = project.call("run", "--sandbox", backend, "--", "sh", "-c", "echo $HOME", HOME=str(home))
        assert (done.code, done.out) == (0, f"{home}\n"), done
    assert list(tmp_path.glob("home/*")) == list(tmp_path.glob("home/.*")) == list(tmp_path.glob("absent*")) == []


def test_a_home_folder_is_no_project(project: Project) -> None:
    done = project.call("run", "--", "true", HOME=str(project.folder))
    assert done.code == 2 and "WFLO-8101" in done.err, done


# Ends and files


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 42", 42), ("kill -TERM $$", 143), ("exit 75", 75)])
def test_the_exit_code_is_the_programs_own(project: Project, script: str, code: int) -> None:
    assert shell(project, script).returncode == code
    assert latest(project)["status"] == ("completed" if code == 0 else "failed")
    assert latest(project)["steps"][0]["exit_code"] == code


def test_a_limit_of_time_ends_it_with_124_and_keeps_its_files(project: Project) -> None:
    project.write_settings("\n[sandbox]\ntimeout_seconds = 5\n")
    done = shell(project, "echo half > half.txt; sleep 3600")
    assert done.returncode == 124, done
    shown = project.call("diff", "latest")
    assert "half.txt" in shown.out, shown


def test_files_are_shown_before_they_are_applied(project: Project) -> None:
    project.write("kept.txt", "old\n")
    done = shell(project, "echo new > kept.txt; echo more > more.txt")
    assert done.returncode == 0 and b"2 changed" in done.stderr, done
    for verb in (b"wflo diff", b"wflo apply", b"wflo discard"):
        assert verb in done.stderr, done
    assert (project.folder / "kept.txt").read_text() == "old\n" and not (project.folder / "more.txt").exists()
    assert "+new" in project.call("diff", "latest").out
    assert project.call("apply", "latest").code == 0
    assert (project.folder / "kept.txt").read_text() == "new\n"


def test_a_program_that_fails_leaves_its_files_to_look_at(project: Project) -> None:
    done = shell(project, "echo made > made.txt; exit 7", b"", "--apply")
    assert done.returncode == 7, done
    assert not (project.folder / "made.txt").exists(), "what failed is not applied by itself"
    assert "made.txt" in project.call("diff", "latest").out
    assert project.call("apply", "latest").code == 0
    assert (project.folder / "made.txt").read_text() == "made\n"


def test_apply_brings_the_files_in(project: Project) -> None:
    assert shell(project, "echo made > made.txt", b"", "--apply").returncode == 0
    assert (project.folder / "made.txt").read_text() == "made\n"
    done = shell(project, "echo again > made.txt", b"", "--apply", "--require-approval")
    assert done.returncode == 75 and b"wflo apply" in done.stderr, done
    assert (project.folder / "made.txt").read_text() == "made\n"


def test_runs_read_well(project: Project) -> None:
    shell(project, "echo said; echo x > x.txt")
    run = latest(project)
    assert (run["workflow"], run["status"], run["steps"][0]["type"]) == ("sh", "completed", "program")
    assert "sh" in project.call("runs", "list").out
    page = project.call("runs", "show", "latest").out
    assert "✓ sh" in page and "x.txt" in page, page
    assert "said" in project.call("runs", "events", "latest").out
    spans = [json.loads(line) for line in project.call("runs", "trace", "latest", "--json").out.splitlines()]
    assert any(span["name"].endswith("sh") for span in spans), spans
    shell(project, "echo said; exit 1")
    failed = latest(project)["id"]
    again = project.call("runs", "retry", failed)
    assert again.code == 1 and again.out == "said\n", again
    assert latest(project)["retried_from"] == failed


def test_what_is_proposed_is_about_the_same_project_and_data(project: Project) -> None:
    done = project.call("--data-dir", "its data", "run", "--", "sh", "-c", "echo x > x.txt")
    assert "wflo --data-dir 'its data' diff latest" in done.err, done
    folder = project.folder.name
    done = project.call("--project", f"../{folder}", "run", "--", "sh", "-c", "echo x > x.txt; exit 1")
    assert f"wflo --project ../{folder} apply latest" in done.err, done


# Models and money


def test_a_client_that_knows_nothing_of_wflo_is_served_and_charged(project: Project, model: MockModel) -> None:
    agent(project, 'print(ask("hello"))')
    done = program(project, "python3", "agent.py", flags=("--budget", "2"))
    assert done.returncode == 0 and b"hello" in done.stdout, done
    assert model.entries[0]["key"] == "sk-the-real-key"
    assert b"1 call" in done.stderr and b"of $2.00" in done.stderr, done
    report = project.call("costs", "report", "--by", "agent", "--json")
    assert "python3" in report.out and report.code == 0, report


def test_node_and_the_shell_are_served_too(project: Project, model: MockModel) -> None:
    project.write(
        "agent.mjs",
        """
        const body = {model: "m", max_tokens: 5, messages: [{role: "user", content: "from node"}]};
        const answer = await fetch(process.env.OPENAI_BASE_URL + "/chat/completions", {
          method: "POST", body: JSON.stringify(body),
          headers: {"content-type": "application/json", authorization: "Bearer " + process.env.OPENAI_API_KEY},
        });
        console.log((await answer.json()).choices[0].message.content);
        """,
    )
    done = program(project, "node", "agent.mjs")
    assert done.returncode == 0 and b"from node" in done.stdout, done
    agent(project, "print(ask(sys.stdin.read().strip()))")
    script = project.write("agent.sh", "#!/bin/sh\necho from the shell | python3 agent.py > answer.txt\n")
    script.chmod(0o755)
    done = program(project, "./agent.sh")
    assert done.returncode == 0, done
    assert "from the shell" in project.call("diff", "latest").out


def test_a_budget_halts_a_program_and_its_files_are_kept(project: Project, model: MockModel) -> None:
    agent(
        project,
        """
        open("before.txt", "w").write("made")
        for n in range(100):
            ask(f"again {n}")
        """,
    )
    done = program(project, "python3", "agent.py", flags=("--budget", "0.045"))
    assert done.returncode == 4 and b"WFLO-4001" in done.stderr, done
    assert latest(project)["status"] == "halted"
    assert "before.txt" in project.call("diff", "latest").out
    paid = model.asked()
    assert 0 < len(paid) < 100
    done = project.call("runs", "retry", "latest", "--budget", "1")
    assert done.code == 0, done
    # What had been answered is not paid again.
    assert set(model.asked().values()) == {1} and len(model.asked()) == 100


def held(project: Project, model: MockModel) -> Running:
    """A program whose one call waits for money."""
    project.write_settings('\n[budget]\nmax_cost_usd = "0.0001"\naction_on_exceeded = "ask"\n')
    agent(project, 'open("answer.txt", "w").write(ask("dear"))')
    return start(project, "python3", "agent.py")


def start(project: Project, *argv: str, **env: str) -> Running:
    """`wflo run --json -- ARGV` in the background."""
    return project.begin(str(project.wflo), "run", "--json", "--", *argv, **env)


def test_a_call_that_asks_is_held_and_goes_on_once_people_have_said_yes(project: Project, model: MockModel) -> None:
    running = held(project, model)
    asked = running.until("approval.requested")
    assert not model.entries
    approve(project, asked)
    done = running.finish()
    assert done.code == 0 and len(model.entries) == 1, done
    assert "dear" in project.call("diff", "latest").out


def test_a_call_that_asks_goes_on_after_a_top_up(project: Project, model: MockModel) -> None:
    running = held(project, model)
    asked = running.until("approval.requested")
    assert project.call("budgets", "top-up", asked["budget"], "1").code == 0
    assert running.finish().code == 0


TOLD = """
    import json, os, urllib.request

    def ask(word):
        body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": word}]}
        request = urllib.request.Request(
            os.environ["OPENAI_BASE_URL"] + "/chat/completions",
            json.dumps(body).encode(),
            {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["choices"][0]["message"]["content"]
        except urllib.error.HTTPError as error:
            return f"refused with {error.code} {error.headers['x-should-retry']} {error.read().decode()}"

    print(ask("first"))
    print(ask("second"))
    open("on.txt", "w").write("x")
"""


def unanswered(project: Project, seconds: float) -> None:
    """A program that lives on with a call that is refused; its budget asks, and waits for so long."""
    project.write_settings(f"""
        [budget]
        max_cost_usd = "0.0001"
        action_on_exceeded = "ask"
        [approvals]
        budget_timeout_seconds = {seconds}
    """)
    project.write("agent.py", TOLD)


def test_nobody_answers_in_time_the_call_is_refused_and_the_program_lives_on(
    project: Project, model: MockModel
) -> None:
    unanswered(project, 0.5)
    done = start(project, "python3", "agent.py").finish()
    assert done.code == 0 and not model.entries, done
    said = " ".join(event["message"] for event in done.of("log"))
    assert said.count("refused with 402 false") == 2 and said.count("WFLO-4001") >= 2, said
    assert "nobody answered within 500ms" in said, said
    decided = done.of("approval.decided")
    assert [event["by"] for event in decided] == ["timeout"] * 2, decided
    assert "on.txt" in project.call("diff", "latest").out
    [budget] = project.call("budgets", "list", "--all", "--json").events
    assert budget["held_usd"] in ("0", "0.00") and budget["settled_usd"] in ("0", "0.00"), budget
    # Said once, where the person who comes back reads it.
    assert "nobody answered within 500ms" in project.call("runs", "show", "latest").out
    late = project.call("approvals", "approve", done.of("approval.requested")[0]["approval_id"])
    assert late.code != 0 and "expired" in late.err, late


def test_a_deadline_that_passed_while_nothing_ran_is_no_answer_to_the_program_that_starts_anew(
    project: Project, model: MockModel
) -> None:
    unanswered(project, 5)
    running = start(project, "python3", "agent.py")
    first = running.until("approval.requested")
    running.kill()
    run = running.finish().events[0]["run_id"]
    database = next(project.folder.rglob("wflo.db"))
    with closing(sqlite3.connect(database)) as db:
        [[until]] = db.execute("SELECT json_extract(request, '$.expires_at') FROM approvals").fetchall()
    wait_for(lambda: datetime.now(timezone.utc) > datetime.fromisoformat(until), "the deadline")
    resumed = project.begin(str(project.wflo), "runs", "resume", run, "--json")
    second = resumed.until("approval.requested")
    assert second["approval_id"] != first["approval_id"], "the old one has run out"
    assert project.call("approvals", "approve", second["approval_id"], "--amount", "1").code == 0
    done = resumed.finish()
    assert done.code == 0 and model.asked() == {"first": 1, "second": 1}, done
    statuses = {a["id"]: a["status"] for a in project.call("approvals", "list", "--all", "--json").events}
    assert statuses[first["approval_id"]] == "expired" and statuses[second["approval_id"]] == "approved", statuses


def test_an_answer_that_came_while_nothing_ran_counts_whatever_the_time(project: Project, model: MockModel) -> None:
    unanswered(project, 1)
    running = start(project, "python3", "agent.py")
    asked = running.until("approval.requested")
    running.kill()
    run = running.finish().events[0]["run_id"]
    given = project.call("approvals", "approve", asked["approval_id"], "--amount", "1", "--no-drive")
    assert given.code == 0, given
    done = project.call("runs", "resume", run, "--json")
    assert done.code == 0 and model.asked() == {"first": 1, "second": 1}, done
    assert not done.of("approval.requested"), "nobody is asked again"


@pytest.mark.usefixtures("failpoints")
def test_a_crash_behind_a_question_leaves_that_question(project: Project, model: MockModel) -> None:
    unanswered(project, 60)
    killed = project.begin(
        str(project.wflo), "run", "--json", "--", "python3", "agent.py", WFLO_FAILPOINT="budget.asked"
    ).finish()
    assert killed.code != 0 and not model.entries, killed
    run = killed.events[0]["run_id"]
    [asked] = project.call("approvals", "list", "--json").events
    resumed = project.begin(str(project.wflo), "runs", "resume", run, "--json")
    resumed.until("step.started")
    assert project.call("approvals", "approve", asked["id"], "--amount", "1").code == 0
    done = resumed.finish()
    assert done.code == 0 and not done.of("approval.requested"), done
    assert model.asked() == {"first": 1, "second": 1}


# Resuming


TWICE = """
    import pathlib
    print("began")
    print(ask("one"))
    pathlib.Path("one.txt").write_text("x")
    print(ask("two"), flush=True)
    print(pathlib.Path("one.txt").read_text(), len(list(pathlib.Path(".").glob("*.txt"))))
"""


def test_after_kill_9_it_starts_anew_and_no_finished_call_is_paid_again(project: Project, model: MockModel) -> None:
    agent(project, TWICE)
    model.faults["two"] = ["hang"]
    running = start(project, "python3", "agent.py")
    run = running.until("run.started")["run_id"]
    model.wait_for(2)
    running.kill()
    running.finish()
    (project.folder / "agent.py").write_text("raise SystemExit('the run has its own copy')\n")
    wait_for(lambda: not any("agent.py" in line for line in project.processes()), "the sandbox is gone")
    done = project.call("runs", "resume", run)
    assert done.code == 0, done
    assert done.out == "began\nYou said: one\nYou said: two\nx 1\n", done
    assert model.asked()["one"] == 1, "a finished call is replayed"
    assert project.show(run)["status"] == "completed"


def test_ctrl_c_off_a_terminal_leaves_a_run_that_can_be_resumed(project: Project, model: MockModel) -> None:
    agent(project, TWICE)
    model.hold()
    running = start(project, "python3", "agent.py")
    run = running.until("run.started")["run_id"]
    model.wait_for(1)
    running.kill(signal.SIGINT)
    model.release()
    done = running.finish()
    assert done.code == 75 and f"wflo runs resume {run}" in done.err, done
    assert project.call("runs", "resume", run).code == 0
    assert model.asked()["one"] == 1


def test_cancelling_ends_the_program_and_keeps_its_files(project: Project, model: MockModel) -> None:
    agent(project, 'open("early.txt", "w").write("x")\nask("slow")')
    model.hold()
    running = start(project, "python3", "agent.py")
    run = running.until("run.started")["run_id"]
    model.wait_for(1)
    assert project.call("runs", "cancel", run).code == 0
    model.release()
    assert running.finish().code == 5
    assert "early.txt" in project.call("diff", run).out
    wait_for(lambda: not any("agent.py" in line for line in project.processes()), "the program is gone")


@pytest.mark.parametrize("place", ["program.ended", "layer.captured"])
@pytest.mark.usefixtures("failpoints")
def test_a_crash_at_its_end_runs_it_again_on_what_it_was_given(project: Project, model: MockModel, place: str) -> None:
    agent(project, TWICE)
    done = subprocess.run(
        [project.wflo, "run", "--", "python3", "agent.py"],
        cwd=project.folder,
        env={**project.environment, "WFLO_FAILPOINT": place},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode < 0, done
    run = latest(project)["id"]
    assert project.call("runs", "resume", run).code == 0
    assert project.show(run)["steps"][0]["exit_code"] == 0
    assert all(count == 1 for count in model.asked().values()), model.asked()


def test_a_detached_program_reads_nothing_and_is_recorded(project: Project) -> None:
    done = project.call("run", "--detach", "--", "sh", "-c", "cat; echo said; echo x > x.txt")
    assert done.code == 0, done
    run = done.out.strip()
    wait_for(lambda: project.show(run)["status"] == "completed", "the end")
    assert "said" in project.call("runs", "events", run).out
    assert "x.txt" in project.call("diff", run).out


# A hostile program


def test_a_program_sees_no_key_no_host_file_and_no_terminal(project: Project) -> None:
    script = "env; cat /etc/shadow; ls /home /root; tty; cat /proc/1/environ"
    done = shell(project, script)
    said = done.stdout + done.stderr
    assert (
        b"sk-the-real-key" not in said and b"root:*" not in said and b"root:x" not in said and b"root:!" not in said
    ), said
    assert b"not a tty" in done.stdout, said
    assert os.environ.get("HOME", "/root").encode() + b"\n" not in done.stdout


# What it was refused


def test_a_call_that_the_gateway_refused_is_named_at_the_end(project: Project, model: MockModel) -> None:
    agent(project, "ask('a'); ask('a')")
    source = (project.folder / "agent.py").read_text()
    project.write("agent.py", source.replace('"m"', '"unheard-of"').replace("sys.exit(9)", "return None"))
    done = project.call("run", "--", "python3", "agent.py")
    assert done.code == 0 and not model.entries, done
    end = done.err.split("ended with 0")[1]
    assert end.count("the model `unheard-of` has no price at the provider `openai-here`") == 1, done.err
    assert "[WFLO-4002]" in end and 'provider = "openai-here"' in "".join(end.split("\n")), done.err
    shown = project.call("runs", "show", "latest").out
    assert "Refused" in shown and "[WFLO-4002]" in shown, shown
    (told,) = [e for e in project.events("latest") if e["type"] == "run.notice" and e["notice"] == "call.refused"]
    assert "unheard-of" in told["message"], told


def test_a_host_that_no_rule_allows_is_named_at_the_end_with_the_flag_that_does(project: Project) -> None:
    fetch = "import urllib.request as u\ntry: u.urlopen('http://evil.example/')\nexcept OSError: print('no luck')\n"
    project.write("fetch.py", fetch)
    done = project.call("run", "--allow-host", "good.example", "--", "python3", "fetch.py")
    assert (done.code, done.out) == (0, "no luck\n"), done
    end = done.err.split("ended with 0")[1]
    assert "no rule allows evil.example:80" in end and "--allow-host evil.example" in end, done.err
    assert "--allow-host evil.example" in " ".join(project.call("runs", "show", "latest").out.split())
    quiet = project.call("run", "--", "true")
    assert "refused" not in quiet.err, quiet.err


@pytest.mark.parametrize("rules", [(), ("--allow-host", "good.example")])
def test_a_program_that_resolves_no_name_is_told_how_hosts_are_reached(project: Project, rules: tuple) -> None:
    project.write("net.py", "import socket\nsocket.create_connection(('api.example.org', 443))\n")
    done = project.call("run", *rules, "--", "python3", "net.py")
    assert done.code == 1 and "gaierror" in done.err, done
    assert "hint: programs have no network and resolve no names" in done.err and "--allow-host HOST" in done.err, done
    assert "--allow-host HOST" in latest(project)["error"]["hint"]
    other = project.call("run", "--", "python3", "-c", "raise SystemExit('another reason')")
    assert other.code == 1 and "hint:" not in other.err, other


def test_what_python_has_printed_is_not_lost_with_a_program_that_is_ended(project: Project, model: MockModel) -> None:
    agent(project, "print('before'); ask('held')")
    model.hold()
    running = start(project, "python3", "agent.py")
    running.until("log", message="before")
    model.release()
    assert running.finish().code == 0


def test_who_names_the_variable_of_python_decides_about_it(project: Project) -> None:
    say = ("python3", "-c", "import os; print(os.environ.get('PYTHONUNBUFFERED'))")
    assert project.call("run", "--", *say).out == "1\n"
    project.write_settings('\n[sandbox]\nenv = ["PYTHONUNBUFFERED"]\n')
    assert project.call("run", "--", *say).out == "None\n"
    project.environment["PYTHONUNBUFFERED"] = "yes"
    assert project.call("run", "--", *say).out == "yes\n"


# Again, and without what it needs


def test_a_call_without_a_key_is_refused_and_the_program_goes_on(project: Project) -> None:
    project.environment.pop("MODEL_KEY")
    agent(
        project,
        """
        open("before.txt", "w").write("work")
        try:
            ask("hello")
        except SystemExit:
            open("after.txt", "w").write("went on")
        """,
    )
    done = program(project, sys.executable, "agent.py")
    assert done.returncode == 0 and b"refused with 503" in done.stderr, done
    run = latest(project)
    assert run["status"] == "completed", run
    shown = project.call("runs", "show", "latest").out
    assert "WFLO-4021" in shown and "MODEL_KEY" in shown, shown
    changed = project.call("diff", "latest").out
    assert "before.txt" in changed and "after.txt" in changed, changed


def test_a_retry_of_a_program_that_ended_well_runs_it_again(project: Project) -> None:
    done = shell(project, "cat given.txt > seen.txt; echo one >> given.txt")
    assert done.returncode == 0, done
    (project.folder / "given.txt").write_text("as it is now\n")
    first = latest(project)["id"]
    assert project.call("discard", first, "--yes").code == 0
    again = project.call("runs", "retry", first)
    assert again.code == 0, again
    assert latest(project)["id"] != first
    assert "as it is now" in project.call("diff", "latest").out


def test_files_that_act_by_themselves_come_in_only_where_they_are_named(project: Project) -> None:
    done = shell(
        project, "echo data > data.txt; echo '#!/bin/sh' > tool.sh; chmod +x tool.sh; mkdir .github; echo x > .github/x"
    )
    assert done.returncode == 0, done
    alone = project.call("apply", "latest", "--yes")
    assert alone.code == 0 and "tool.sh was left out" in alone.err, alone
    assert (project.folder / "data.txt").exists() and not (project.folder / "tool.sh").exists()
    named = project.call("apply", "latest", ".", "--yes")
    assert named.code == 0, named
    assert (project.folder / "tool.sh").exists() and (project.folder / ".github" / "x").exists()


def test_what_does_not_fit_is_left_out_and_the_rest_is_kept(project: Project) -> None:
    done = shell(project, "echo hours > work.txt; truncate -s 20G sparse.bin")
    assert done.returncode == 0, done
    shown = project.call("diff", "latest").out
    assert "work.txt" in shown and "sparse.bin" not in shown, shown
    said = [
        event["message"]
        for event in project.events(latest(project)["id"])
        if event.get("notice") == "workspace.dropped"
    ]
    assert said and "sparse.bin (more than is kept)" in said[0], said

"""`backend = "e2b"`: steps in sandboxes of a cloud, which is wflo's own server of that API on loopback."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloud import Cloud
from model import MockModel
from project import Project, wait_for

ASK = '[{"role": "user", "content": "hello"}]'


@pytest.fixture
def cloud(tmp_path: Path, project: Project) -> Iterator[Cloud]:
    with Cloud(project.wflo, tmp_path / "cloud") as cloud:
        project.environment |= cloud.env
        yield cloud


def test_a_program_that_hangs_up_early_is_not_the_end_of_its_sandbox(
    project: Project, model: MockModel, cloud: Cloud
) -> None:
    project.steps(f"""
        import json, re, signal, socket, struct

        @workflow.step
        async def work(context):
            name, port = re.sub("https?://", "", os.environ["OPENAI_BASE_URL"]).split("/")[0].split(":")
            for n in range(20):
                ask = [{{"role": "user", "content": f"hello {{n}}"}}]
                body = json.dumps(dict(model="m", messages=ask, max_tokens=10)).encode()
                head = f"POST /openai/v1/chat/completions HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: application/json\\r\\n"
                call = socket.create_connection((name, int(port)))
                call.sendall(head.encode() + b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body)
                # At once, and without a good-bye.
                call.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                call.close()
            answer = await context.llm.chat(model="m", messages={ASK}, max_tokens=10)
            return [answer.text, signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN]
    """)
    done = project.run("--sandbox", "e2b")
    assert done.code == 0 and done.of("step.lost") == [], done
    # What a program begins with is not its keeper's: Python ignores this signal by itself.
    assert done.run["outputs"]["work"] == ["You said: hello", True], done.run
    given = "yes | head -c 3000000 | {0} sandbox exec --sandbox e2b -- sh -c 'exec <&-; sleep 0.5; trap; echo over'"
    ran = subprocess.run(["sh", "-c", given.format(project.wflo)], env=project.environment, cwd=project.folder,
                         capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "over\n"), ran


def test_a_run_has_its_steps_there_and_its_files_here(project: Project, model: MockModel, cloud: Cloud) -> None:
    project.write(".env", "SECRET=1\n")
    project.write("data/in.txt", "in")
    project.write("old.txt", "old")
    project.steps(f"""
        from pathlib import Path

        @workflow.step
        async def work(context):
            answer = await context.llm.chat(model="m", messages={ASK}, max_tokens=10)
            made = await context.tools.run(["sh", "-c", "cat data/in.txt > made.txt; printf ' made' >> made.txt; rm old.txt"])
            import json, urllib.request
            body = json.dumps(dict(model="m", messages={ASK}, max_tokens=10)).encode()
            url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
            head = {{"Content-Type": "application/json", "Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}}
            stock = json.load(urllib.request.urlopen(urllib.request.Request(url, body, head)))
            return dict(
                said=answer.text, stock=stock["choices"][0]["message"]["content"], code=made.exit_code,
                place=str(context.workspace), hidden=os.path.exists(".env"), env=sorted(os.environ),
                sandbox=os.environ.get("E2B_SANDBOX"),
            )

        @workflow.step(depends_on=["work"])
        async def read(context):
            return [Path("made.txt").read_text(), Path("old.txt").exists()]
    """)
    done = project.run("--sandbox", "e2b")
    assert done.code == 0, done
    work = done.run["outputs"]["work"]
    assert work["said"] == work["stock"] and work["code"] == 0, work
    assert work["place"] == "/tmp/wflo/work/project" and not work["hidden"], work
    assert work["sandbox"] == "true", "it is a sandbox of the cloud"
    assert not {"MODEL_KEY", "E2B_API_KEY", "E2B_API_URL"} & set(work["env"]), work
    assert done.run["outputs"]["read"] == ["in made", False]
    assert len(model.entries) == 2
    notices = [e["message"] for e in done.of("run.notice") if e["notice"] == "sandbox.cloud"]
    assert len(notices) == 1 and cloud.address in notices[0], notices
    # Nothing here has changed, until somebody says so.
    assert (project.folder / "old.txt").exists() and not (project.folder / "made.txt").exists()
    diff = project.call("diff", done.run["id"])
    assert "made.txt" in diff.out and "old.txt" in diff.out, diff
    assert project.call("apply", done.run["id"], ".", "--yes").code == 0
    assert (project.folder / "made.txt").read_text() == "in made" and not (project.folder / "old.txt").exists()
    cloud.has_none()
    # Neither a key nor a secret has left this machine, whatever is recorded there.
    said = Path(cloud.told["audit"]).read_text()
    assert "sk-the-real-key" not in said and cloud.key not in said
    everything = done.out + done.err
    assert cloud.key not in everything


def test_a_step_that_waits_has_no_sandbox_and_goes_on_in_another(project: Project, cloud: Cloud) -> None:
    project.database("CREATE TABLE log (what TEXT)")
    project.steps("""
        @workflow.step(approval_required=True)
        async def change(context):
            seen = await context.random()
            await context.db.execute("INSERT INTO log (what) VALUES (?)", ["done"])
            return [seen, context.resumes]
    """)
    running = project.start("run", "--sandbox", "e2b")
    asked = running.until("approval.requested")
    running.until("run.waiting")
    cloud.has_none()
    running.kill()
    running.finish()
    made = len(cloud.of("sandbox.created"))
    done = project.call("approvals", "approve", asked["approval_id"])
    assert done.code == 0, done
    run = project.show(asked["run_id"])
    assert run["status"] == "completed", run
    assert project.rows("SELECT what FROM log") == [("done",)]
    assert len(cloud.of("sandbox.created")) > made
    cloud.has_none()


def test_what_a_killed_engine_has_left_is_ended_by_the_next(project: Project, model: MockModel, cloud: Cloud) -> None:
    project.steps(f"""
        @workflow.step
        async def work(context):
            said = (await context.llm.chat(model="m", messages={ASK}, max_tokens=10)).text
            if context.resumes == 0:
                time.sleep(3600)
            return said
    """)
    running = project.start("run", "--sandbox", "e2b")
    run = running.until("effect.finished", kind="llm")["run_id"]
    # The sandbox in which the workflow was read is ended beside the step.
    wait_for(lambda: len(cloud.living()) == 1, "the step's sandbox alone")
    running.kill()
    running.finish()
    left = cloud.living()
    assert len(left) == 1, "nobody has told the cloud"
    done = project.call("runs", "resume", run, "--json")
    assert done.code == 0, done
    assert len(model.entries) == 1, "a call that was paid is not paid again"
    cloud.has_none()
    ended = {line["sandbox"] for line in cloud.of("sandbox.killed")}
    assert left <= ended, "it was ended, before its time did"


def test_a_cloud_that_goes_away_fails_the_step_and_not_the_engine(project: Project, cloud: Cloud) -> None:
    project.steps("""
        @workflow.step
        async def work(context):
            await context.random()
            time.sleep(3600)
    """)
    running = project.start("run", "--sandbox", "e2b")
    running.until("effect.finished", kind="random")
    cloud.kill()
    done = running.finish()
    assert done.code == 1, done
    assert done.run["status"] == "failed" and done.run["error"]["code"].startswith("WFLO-"), done.run


def test_its_time_ends_a_step(project: Project, cloud: Cloud) -> None:
    project.steps("""
        @workflow.step(timeout_seconds=3)
        async def work(context):
            time.sleep(3600)
    """)
    done = project.run("--sandbox", "e2b")
    assert done.code != 0 and done.run["status"] in ("failed", "timed_out"), done
    cloud.has_none()


def test_its_memory_and_processes_are_bounded(project: Project, cloud: Cloud) -> None:
    project.write_settings('\n[sandbox]\nbackend = "e2b"\nmemory_limit = "200m"\npids_limit = 40\n')
    project.steps("""
        @workflow.step
        async def memory(context):
            held = bytearray(400 << 20)
            time.sleep(3600)
    """)
    done = project.run()
    assert done.code == 1 and done.run["error"]["code"] == "WFLO-3007", done.run["error"]
    project.steps("""
        @workflow.step
        async def processes(context):
            import subprocess
            all = []
            try:
                while len(all) < 60:
                    all.append(subprocess.Popen(["sleep", "1000"]))
            except BlockingIOError:
                return len(all)
    """)
    done = project.run()
    # The kernel counts those of the server's own that have ended since, too; the keeper counts the step's alone, later.
    if done.code == 0:
        assert 20 < done.run["outputs"]["processes"] <= 45, done
    else:
        assert done.run["error"]["code"] == "WFLO-3018", done
    told = [e["message"] for e in done.of("run.notice") if e["notice"] == "sandbox.supervised"]
    assert told and "memory" in told[0] and "keeper" in told[0], told
    cloud.has_none()


@pytest.mark.parametrize(
    ("settings", "env", "code"),
    [
        ('rw = ["./data:/data"]', {}, "WFLO-5316"),
        ('ro = ["./data:/data"]', {}, "WFLO-5316"),
        ('disk_limit = "64m"', {}, "WFLO-5316"),
        ("inodes_limit = 5000", {}, "WFLO-5316"),
        ('require = "kernel"', {}, "WFLO-5316"),
        ("", {"E2B_API_KEY": ""}, "WFLO-5307"),
        ("", {"E2B_API_KEY": "e2b_another"}, "WFLO-5309"),
        ("", {"E2B_API_URL": "http://api.example.org"}, "WFLO-5317"),
        ("", {"E2B_API_URL": "http://127.0.0.1:1"}, "WFLO-5308"),
        ('[sandbox.e2b]\ntemplate = "mine"', {}, "WFLO-5311"),
        ('[sandbox.e2b]\napi_url = "https://api.example.org"', {}, "WFLO-5307"),
        ('[sandbox.e2b]\napi_key_command = "echo e2b_another"', {}, "WFLO-5309"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(
    project: Project, cloud: Cloud, settings: str, env: dict[str, str], code: str
) -> None:
    project.write("data/x", "")
    project.write_settings(f'\n[sandbox]\nbackend = "e2b"\n{settings}\n')
    project.steps("""
        @workflow.step
        def ran(context):
            raise AssertionError("it ran")
    """)
    done = project.run(**env)
    assert done.code != 0 and code in done.err + done.out, done
    assert "it ran" not in done.out and "e2b_another" not in done.out + done.err, done
    cloud.has_none()


def test_a_project_does_not_send_itself_to_a_cloud(project: Project, cloud: Cloud) -> None:
    del project.environment["WFLO_TRUST"]
    project.write_settings('\n[sandbox]\nbackend = "e2b"\n')
    project.steps("""
        @workflow.step
        def ran(context):
            return 1
    """)
    done = project.run()
    assert done.code == 2 and "WFLO-8016" in done.err and "e2b" in done.err, done
    assert cloud.of("sandbox.created") == []


def test_exec_has_the_commands_streams_code_and_files(project: Project, cloud: Cloud) -> None:
    script = "cat; cat in.txt; echo out > out.txt; echo complaint >&2; exit 7"
    project.write("in.txt", "in\n")
    done = project.call(
        "sandbox", "exec", "--sandbox", "e2b", "--workspace", ".", "--keep", "--", "sh", "-c", script, stdin="given\n"
    )
    assert (done.code, done.out) == (7, "given\nin\n"), done
    assert "complaint\n" in done.err and "Kept 1 change" in done.err, done
    big = project.call(
        "sandbox", "exec", "--sandbox", "e2b", "--", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"
    )
    assert (big.code, len(big.out)) == (0, 3_000_000), big.err
    late = project.call("sandbox", "exec", "--sandbox", "e2b", "--timeout", "500ms", "--", "sleep", "1000")
    assert late.code == 124, late
    none = project.call("sandbox", "exec", "--sandbox", "e2b", "--", "no-such-program")
    assert none.code == 127, none
    cloud.has_none()


def test_nothing_leaves_the_sandbox_but_by_the_engines_proxy(project: Project, cloud: Cloud) -> None:
    script = "import urllib.request as u; print(u.urlopen('http://127.0.0.2:1/').status)"
    done = project.call(
        "sandbox", "exec", "--sandbox", "e2b", "--allow-host", "example.org", "--", "python3", "-c", script
    )
    assert done.code != 0, done
    made = cloud.of("sandbox.created")
    assert made and all(line["hosts"] == [] for line in made), made


def test_doctor_says_whether_the_cloud_answers(project: Project, cloud: Cloud) -> None:
    def finding(**env: str) -> dict:
        done = project.call("sandbox", "doctor", "--json", **env)
        return next(check for check in json.loads(done.out)["checks"] if check["name"] == "e2b")

    assert finding()["state"] == "ok"
    assert finding(E2B_API_KEY="e2b_another")["state"] == "degraded"
    assert finding(E2B_API_KEY="")["state"] == "untested"
    assert cloud.of("sandbox.created") == []


def test_two_engines_leave_each_others_sandboxes_alone(project: Project, cloud: Cloud) -> None:
    project.steps("""
        @workflow.step
        async def work(context):
            await context.random()
            if context.inputs["pace"] == "slow":
                time.sleep(3600)
            return "done"
    """)
    slow = project.start("run", "--sandbox", "e2b", "--input", "pace=slow")
    slow.until("effect.finished", kind="random")
    wait_for(lambda: len(cloud.living()) == 1, "the step's sandbox alone")
    before = cloud.living()
    quick = project.run("--sandbox", "e2b", "--input", "pace=quick")
    assert quick.code == 0, quick
    assert before and before <= cloud.living(), "the other's is not ended"
    slow.kill()
    slow.finish()

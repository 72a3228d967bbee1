"""What steps return and raise, and how the run ends for it."""

from model import MockModel
from project import Project


def test_async_and_sync_steps_pass_outputs_and_state_on(project: Project) -> None:
    project.steps("""
        @workflow.step
        async def first(context):
            context.state["seen"] = [context.step]
            print("printed by a step")
            return {"n": context.inputs["n"] + 1}

        @workflow.step
        def second(context):
            context.state["seen"] = context.state["seen"] + [context.step]
            return {"n": context.outputs["first"]["n"] * 2, "seen": context.state["seen"]}
    """)
    done = project.run("--input", "n=20")
    assert done.code == 0, done
    run = done.run
    assert run["status"] == "completed"
    assert run["outputs"]["second"] == {"n": 42, "seen": ["first", "second"]}
    assert [(s["name"], s["status"]) for s in run["steps"]] == [("first", "completed"), ("second", "completed")]
    assert [e["seq"] for e in done.events[:-1]] == list(range(1, len(done.events)))


def test_a_failing_step_names_its_line_and_ends_with_1(project: Project) -> None:
    project.steps("""
        @workflow.step
        def load(context):
            raise ValueError("no such ticket")

        @workflow.step
        def after(context):
            return 1
    """)
    done = project.run()
    assert done.code == 1, done
    error = done.run["error"]
    assert done.run["status"] == "failed"
    assert "no such ticket" in error["message"] and error["place"].startswith("workflow.py:6"), error
    assert [s["status"] for s in done.run["steps"]] == ["failed", "cancelled"]


def test_a_retry_after_an_own_error_starts_from_nothing(project: Project, model: MockModel) -> None:
    project.steps("""
        @workflow.step(retries=2, retry_backoff=0.01)
        async def flaky(context):
            ask = [{"role": "user", "content": "again"}]
            text = (await context.llm.chat(model="m", messages=ask, max_tokens=5)).text
            if context.attempt < 3:
                raise RuntimeError("not yet")
            return [context.attempt, text]
    """)
    done = project.run()
    assert done.code == 0, done
    assert done.run["outputs"]["flaky"] == [3, "You said: again"]
    assert model.asked() == {"again": 3}


def test_a_retry_after_a_failed_effect_keeps_the_finished_ones(project: Project, model: MockModel) -> None:
    model.refuse["second"] = 1
    project.steps("""
        @workflow.step(retries=1, retry_backoff=0.01)
        async def two(context):
            said = []
            for word in ("first", "second"):
                ask = [{"role": "user", "content": word}]
                said.append((await context.llm.chat(model="m", messages=ask, max_tokens=5)).text)
            return [context.attempt, *said]
    """)
    done = project.run()
    assert done.code == 0, done
    assert done.run["outputs"]["two"] == [2, "You said: first", "You said: second"]
    assert model.asked() == {"first": 1, "second": 2}


def test_what_the_context_gives_is_journaled(project: Project) -> None:
    project.steps("""
        @workflow.step
        async def world(context):
            now = await context.now()
            chance = await context.random()
            await context.sleep(0.01)
            await context.emit("progress", {"done": 1})
            done = await context.tools.run([sys.executable, "-c", "print(6 * 7)"])
            (context.workspace / "note.txt").write_text("written")
            return [now.isoformat()[:2], 0 <= chance < 1, done.stdout.strip()]
    """)
    done = project.run()
    assert done.code == 0, done
    assert done.run["outputs"]["world"] == ["20", True, "42"]
    kinds = [e["kind"] for e in done.of("effect.finished")]
    assert sorted(kinds) == ["emit", "now", "random", "sleep", "tool"]
    assert not (project.folder / "note.txt").exists()


def test_hostile_steps_end_as_failures_and_wflo_lives(project: Project) -> None:
    project.steps("""
        @workflow.step(depends_on=[])
        def exits(context):
            sys.exit(0)
        """)
    done = project.run()
    assert (done.code, done.run["error"]["code"]) == (1, "WFLO-3306"), done

    project.steps("""
        @workflow.step
        def leaves(context):
            os._exit(7)
        """)
    done = project.run()
    assert (done.code, done.run["error"]["code"]) == (1, "WFLO-3008"), done

    project.steps("""
        @workflow.step
        def unserialisable(context):
            return {"rows": [object()]}
        """)
    done = project.run()
    assert done.code == 1 and "rows[0]" in done.run["error"]["message"], done

    project.steps("""
        @workflow.step
        def too_large(context):
            return "x" * (100 << 20)
        """)
    done = project.run()
    assert done.code == 1, done
    assert "8" in done.run["error"]["message"], done.run["error"]


def test_a_step_that_prints_100_mb_is_kept_short(project: Project) -> None:
    project.steps("""
        @workflow.step
        def noisy(context):
            for n in range(100_000):
                sys.stdout.write(f"{n:06}" + "x" * 993 + "\\n")
            return "quiet again"
    """)
    done = project.run()
    assert done.code == 0, done
    assert done.run["outputs"]["noisy"] == "quiet again"
    assert len(done.out) < 20 << 20
    lines = [event["message"] for event in done.of("log")]
    assert lines[0].startswith("000000x") and lines[-1].startswith("099999x"), (lines[0], lines[-1])
    assert sum("bytes of stdout are left out here" in line for line in lines) == 1


def test_a_step_that_forks_leaves_no_process(project: Project) -> None:
    project.steps("""
        @workflow.step
        def forks(context):
            for _ in range(20):
                if os.fork() == 0:
                    os.setsid()
                    time.sleep(3600)
                    os._exit(0)
            return os.getpid()
    """)
    done = project.run()
    assert done.code == 0, done
    assert project.processes() == []


def test_a_fork_bomb_meets_its_limit(project: Project) -> None:
    project.steps("""
        workflow.configure_sandbox(pids_limit=32)

        @workflow.step
        def bomb(context):
            made = 0
            try:
                while made < 1000:
                    if os.fork() == 0:
                        time.sleep(3600)
                    made += 1
            except OSError as error:
                return {"made": made, "error": error.errno}
    """)
    done = project.run()
    assert done.code == 0, done
    assert done.run["outputs"]["bomb"]["made"] < 32
    assert project.processes() == []


def test_memory_above_the_limit_is_named(project: Project) -> None:
    project.steps("""
        workflow.configure_sandbox(memory_limit="64m")

        @workflow.step
        def hungry(context):
            return len(bytearray(b"x" * (300 << 20)))
    """)
    done = project.run()
    assert (done.code, done.run["error"]["code"]) == (1, "WFLO-3007"), done


def test_a_step_out_of_time_ends_the_run_with_its_code(project: Project) -> None:
    project.steps("""
        @workflow.step(timeout_seconds=1)
        def slow(context):
            time.sleep(3600)
    """)
    done = project.run()
    assert done.run["error"]["code"] == "WFLO-3002", done
    assert done.code in (1, 5), done
    assert project.processes() == []


def test_a_step_has_its_time_once_however_often_it_is_resumed(project: Project) -> None:
    project.steps("""
        @workflow.step(timeout_seconds=12)
        async def slow(context):
            await context.random()
            await asyncio.sleep(7)  # skipped to on resume, and counted all the same
            await context.now()
            if context.resumes:
                await asyncio.sleep(7)  # alone it would do
            else:
                await asyncio.sleep(3600)
            return "done"
    """)
    running = project.start("run")
    run = running.until("effect.finished", kind="now")["run_id"]
    running.kill()
    running.process.wait()
    done = project.call("runs", "resume", run, "--json")
    assert done.code == 5, done
    assert done.run["error"]["code"] == "WFLO-3002", done

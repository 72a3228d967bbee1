"""Step code that attacks what it can reach: output, processes, SQL, files. wflo lives and says what it was."""

import os

from model import MockModel
from project import Project


def test_a_step_that_prints_a_gigabyte_is_kept_short(project: Project) -> None:
    project.steps("""
        @workflow.step(timeout_seconds=100)
        def noisy(context):
            block = b"x" * (1 << 20)  # without a line's end
            for _ in range(1024):
                os.write(1, block)
                os.write(2, b"y" * 1000)
            return "quiet again"
    """)
    done = project.run()
    assert (done.code, done.run["outputs"]) == (0, {"noisy": "quiet again"}), done.err
    assert len(done.out) < 8 << 20
    store = sum(path.stat().st_size for path in (project.folder / ".wflo").rglob("*") if path.is_file())
    assert store < 64 << 20


def test_steps_that_kill_themselves_are_named(project: Project) -> None:
    for code, expected in (
        ("os.abort()", "WFLO-3001"),
        ("os.kill(os.getpid(), 9)", "WFLO-3001"),
        ("os._exit(0)", "WFLO-3008"),
    ):
        project.steps(f"""
            @workflow.step
            def dies(context):
                {code}
        """)
        done = project.run()
        # A signal may be the machine's; it is tried again, and parked when it keeps happening.
        assert (done.code, done.run["error"]["code"]) == (1, expected), (code, done)
        assert project.processes() == [], code


def test_forks_without_end_leave_nothing(project: Project) -> None:
    project.steps("""
        workflow.configure_sandbox(pids_limit=64)

        @workflow.step(timeout_seconds=2)
        def bomb(context):
            while True:
                try:
                    if os.fork() == 0:
                        os.setsid()
                        for number in range(1, 65):
                            try:
                                __import__("signal").signal(number, 1)
                            except (OSError, ValueError):
                                pass
                except OSError:
                    pass
    """)
    done = project.run()
    assert (done.code, done.run["error"]["code"]) == (5, "WFLO-3002"), done
    assert project.processes() == []


SQL = [
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ATTACH '/etc/passwd' AS x",
    "ATTACH ':memory:' AS x",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO 'copy.db'",
    "PRAGMA journal_mode = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA synchronous = OFF",
    "DELETE FROM _wflo_effects",
    "DROP TABLE _wflo_effects",
    "SELECT * FROM _wflo_effects",
    "INSERT INTO _wflo_effects SELECT * FROM _wflo_effects",
    "SELECT load_extension('/tmp/x.so')",
    "SELECT writefile('/tmp/x', 'y')",
    "SELECT readfile('/etc/passwd')",
    "SELECT 1; DELETE FROM records",
    "UPDATE sqlite_schema SET sql = ''",
    "CREATE TABLE _wflo_mine (x)",
    "SELECT zeroblob(1000000000)",
    "INSERT INTO records VALUES (9, randomblob(1000000000))",
    "SELECT * FROM records AS a, records AS b, records AS c, records AS d, records AS e, records AS f WHERE a.id > 99",
]


def test_hostile_sql_is_refused_by_name_and_changes_nothing(project: Project) -> None:
    project.database("CREATE TABLE records (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO records VALUES (1, 'ada')")
    project.steps(f"""
        @workflow.step(timeout_seconds=100)
        async def hostile(context):
            async def attempt(sql):
                try:
                    await context.db.execute(sql)
                    return "done"
                except DatabaseError as error:
                    return error.code
            await context.db.execute("INSERT INTO records VALUES (2, 'bob')")
            return await asyncio.gather(*(attempt(sql) for sql in {SQL!r}))
    """)
    done = project.run()
    assert done.code == 0, done
    said = dict(zip(SQL, done.run["outputs"]["hostile"], strict=True))
    harmless = SQL[-1]
    assert said.pop(harmless) == "done", said
    assert all(code.startswith("WFLO-60") for code in said.values()), said
    assert project.rows("SELECT * FROM records") == [(1, "ada"), (2, "bob")]
    assert project.rows("SELECT count(*) FROM _wflo_effects") == [(1,)]
    assert not (project.folder / "copy.db").exists()


def test_a_hidden_file_survives_whatever_the_step_did_to_it(project: Project) -> None:
    secret = project.write("keys/.env", "SECRET=1\n")
    os.link(secret, project.folder / "keys" / "innocent.txt")
    project.write("keys/seen.txt", "seen\n")
    project.write("plain/a.txt", "a\n")
    outside = project.folder.parent / "outside"
    outside.mkdir()
    (outside / "victim.txt").write_text("untouched\n")
    project.steps(f"""
        import shutil

        @workflow.step
        def attack(context):
            there = sorted(os.listdir("keys"))
            shutil.rmtree("keys")
            os.mkdir("keys")
            open("keys/.env", "w").write("STOLEN=1")
            open("keys/innocent.txt", "w").write("stolen")
            shutil.rmtree("plain")
            os.symlink({str(outside)!r}, "plain")
            os.symlink("/etc/passwd", "password.txt")
            os.symlink("..", "up")
            open("up/{project.folder.name}-escaped.txt", "w").write("out") if os.access("up", os.W_OK) else None
            os.makedirs("deep/a")
            open("deep/a/victim.txt", "w").write("overwritten")
            return there
    """)
    done = project.run()
    assert done.code == 0, done
    # Neither the file nor its other name was there to see.
    assert done.run["outputs"]["attack"] == ["seen.txt"]
    run = done.run["id"]
    shown = project.call("diff", run)
    assert shown.code == 0 and "SECRET" not in shown.out and "root:" not in shown.out, shown
    # Somebody puts a link where the run's folder will go.
    os.symlink(outside, project.folder / "deep")
    applied = project.call("apply", run, "--json")
    assert applied.code in (0, 1, 2), applied
    assert secret.read_text() == "SECRET=1\n"
    assert (project.folder / "keys" / "innocent.txt").read_text() == "SECRET=1\n"
    assert [path.name for path in outside.iterdir()] == ["victim.txt"]
    assert (outside / "victim.txt").read_text() == "untouched\n"
    assert not (project.folder.parent / f"{project.folder.name}-escaped.txt").exists()


def test_five_identical_calls_of_a_stock_client_are_five_calls(project: Project, model: MockModel) -> None:
    project.steps("""
        workflow.set_budget(max_cost_usd="5.00", action_on_exceeded="halt")

        @workflow.step
        async def samples(context):
            import openai
            client = openai.AsyncOpenAI()
            ask = dict(model="m", messages=[{"role": "user", "content": "same"}], max_tokens=5)
            said = await asyncio.gather(*(client.chat.completions.create(**ask) for _ in range(5)))
            await context.db.execute("INSERT INTO log (what) VALUES ('asked')")
            if context.resumes == 0:
                time.sleep(3600)
            return len(said)
    """)
    project.database("CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)")
    running = project.start("run")
    run = running.until("effect.finished", kind="db")["run_id"]
    running.kill()
    running.finish()
    done = project.call("runs", "resume", run, "--json")
    assert (done.code, done.run["outputs"]) == (0, {"samples": 5}), done
    assert model.asked() == {"same": 5}
    assert done.run["cost_usd"] == done.run["budget"]["settled_usd"] == "0.0015"
    assert project.rows("SELECT what FROM log") == [("asked",)]

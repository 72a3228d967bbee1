"""`context.db`: statements in the engine, exactly the changes asked for, and their undo."""

from project import Project

RECORDS = """
CREATE TABLE records (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INTEGER NOT NULL);
INSERT INTO records VALUES (1, 'ada', 10), (2, 'bob', 400), (3, 'cyd', 500);
"""
START = [(1, "ada", 10), (2, "bob", 400), (3, "cyd", 500)]
ALL = "SELECT id, name, age FROM records ORDER BY id"


def test_statements_queries_and_bulk_updates_reach_the_database(project: Project) -> None:
    project.database(RECORDS)
    project.steps("""
        @workflow.step
        async def work(context):
            added = await context.db.execute("INSERT INTO records VALUES (4, ?, 1)", ["dan"])
            changed = await context.db.bulk_update("records", [{"id": 1, "name": "Ada"}, {"id": 2, "age": 401}])
            inferred = await context.db.update([{"id": 3, "name": "Cyd"}])
            rows = await context.db.query("SELECT name FROM records WHERE age > :age ORDER BY id", {"age": 100})
            return [added.rows_affected, changed, inferred, [row["name"] for row in rows]]

        @workflow.step
        def sync(context):
            return context.db.query("SELECT count(*) FROM records").scalar()
    """)
    done = project.run()
    assert done.code == 0, done
    assert done.run["outputs"]["work"] == [1, 2, 1, ["bob", "Cyd"]]
    assert done.run["outputs"]["sync"] == 4
    assert project.rows(ALL) == [(1, "Ada", 10), (2, "bob", 401), (3, "Cyd", 500), (4, "dan", 1)]


def test_the_file_of_a_database_is_not_in_the_sandbox(project: Project) -> None:
    path = project.database(RECORDS)
    project.write(".env", "SECRET=1\n")
    project.steps(f"""
        @workflow.step
        def look(context):
            found = sorted(os.listdir(context.workspace))
            hidden = [os.path.exists({str(path)!r}), os.path.exists(".wflo"), os.path.exists(".env")]
            return [found, hidden, "MODEL_KEY" in os.environ]
    """)
    done = project.run()
    assert done.code == 0, done
    found, hidden, key = done.run["outputs"]["look"]
    assert hidden == [False, False, False] and not key
    assert "workflow.py" in found and "data.db" not in found


def test_restore_undoes_what_the_step_did_since_the_snapshot(project: Project) -> None:
    project.database(RECORDS)
    project.steps("""
        @workflow.step
        async def undo(context):
            await context.db.execute("UPDATE records SET age = 11 WHERE id = 1")
            before = await context.db.snapshot()
            await context.db.execute("DELETE FROM records WHERE age > 100")
            would = await context.db.restore(before, dry_run=True)
            left = await context.db.query("SELECT count(*) FROM records")
            done = await context.db.restore(before)
            return [len(would.diff), left.scalar(), len(done.diff)]
    """)
    done = project.run()
    assert done.code == 0, done
    assert done.run["outputs"]["undo"] == [2, 1, 2]
    assert project.rows(ALL) == [(1, "ada", 11), *START[1:]]


def test_a_failed_step_with_rollback_leaves_the_data_as_it_was(project: Project) -> None:
    project.database(RECORDS)
    project.steps("""
        @workflow.step(rollback_enabled=True)
        async def breaks(context):
            await context.db.execute("DELETE FROM records WHERE age > 100")
            await context.db.bulk_update("records", [{"id": 1, "name": "gone"}])
            raise ValueError("the check after it")
    """)
    done = project.run()
    assert done.code == 1, done
    assert "the check after it" in done.run["error"]["message"]
    assert project.rows(ALL) == START


def test_a_failed_step_without_rollback_is_not_retried_over_its_writes(project: Project) -> None:
    project.database(RECORDS)
    project.steps("""
        @workflow.step(retries=3, retry_backoff=0.01)
        async def breaks(context):
            await context.db.execute("UPDATE records SET age = age + 1")
            raise ValueError("after the write")
    """)
    done = project.run()
    assert done.code == 1, done
    assert project.rows(ALL) == [(i, name, age + 1) for i, name, age in START]
    assert len(done.of("step.started")) == 1

    project.steps("""
        @workflow.step(retries=3, retry_backoff=0.01, rollback_enabled=True)
        async def breaks(context):
            await context.db.execute("UPDATE records SET age = age + 1")
            if context.attempt < 3:
                raise ValueError("after the write")
    """)
    done = project.run()
    assert done.code == 0, done
    assert project.rows(ALL) == [(i, name, age + 2) for i, name, age in START]


def test_hostile_statements_are_refused(project: Project) -> None:
    project.database(RECORDS)
    project.steps("""
        REFUSED = ["COMMIT", "ATTACH '/tmp/x.db' AS x", "PRAGMA journal_mode = OFF", "VACUUM INTO 'copy.db'",
                   "DELETE FROM _wflo_effects", "SELECT 1; SELECT 2"]

        @workflow.step
        async def hostile(context):
            said = []
            for sql in REFUSED:
                try:
                    await context.db.execute(sql)
                    said.append("done")
                except DatabaseError as error:
                    said.append(error.code)
            return said
    """)
    done = project.run()
    assert done.code == 0, done
    said = done.run["outputs"]["hostile"]
    assert len(said) == 6 and all(code.startswith("WFLO-6") for code in said), said
    assert project.rows(ALL) == START

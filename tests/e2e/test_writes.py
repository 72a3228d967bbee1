"""One question for all the writes of a step: when it is put, what it holds, and what becomes of it."""

import hashlib
import json

from model import MockModel
from project import Project, approve, question, wait_for

RECORDS = """
CREATE TABLE records (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INTEGER NOT NULL);
INSERT INTO records VALUES (1, 'ada', 10), (2, 'bob', 400), (3, 'cyd', 500);
CREATE TABLE numbers (n INTEGER PRIMARY KEY, square INTEGER);
"""
START = [(1, "ada", 10), (2, "bob", 400), (3, "cyd", 500)]
ALL = "SELECT id, name, age FROM records ORDER BY id"
TWENTY = """
    @workflow.step
    async def fill(context):
        for n in range(20):
            await context.db.execute("INSERT INTO numbers VALUES (?, ?)", [n, n * n])
        seen = await context.db.query("SELECT count(*), sum(square) FROM numbers")
        return list(seen.one().values())
"""


def digest(project: Project) -> str:
    return hashlib.sha256((project.folder / "data.db").read_bytes()).hexdigest()


def test_twenty_writes_are_one_question(project: Project) -> None:
    project.database(RECORDS)
    project.steps(TWENTY)
    before = digest(project)
    running = project.start("run", "--require-approval")
    asked = question(running)
    writes = asked["evidence"]["writes"]
    assert [write["params"] for write in writes] == [[n, n * n] for n in range(20)]
    assert all(write["previewed"] and write["change"]["tables"]["numbers"]["inserted"] == 1 for write in writes)
    assert asked["title"] == "step `fill` makes 20 changes to database `main`"
    assert digest(project) == before, "nothing is changed before the answer"
    approve(project, asked)
    done = running.finish()
    assert done.code == 0, done
    # Its reads saw what it had written.
    assert done.run["outputs"]["fill"] == [20, 2470]
    assert project.rows("SELECT count(*), sum(square) FROM numbers") == [(20, 2470)]
    assert len(done.of("approval.requested")) == 1 and len(done.of("approval.consumed")) == 1
    assert len(done.of("step.started", step="fill")) == 2, "its sandbox is started again once"
    finished = [e["effect_seq"] for e in done.of("effect.finished", kind="db")]
    assert finished == list(range(21)), "each write and the read are finished once, after the commit"


def test_a_rejection_leaves_the_database_as_it_is_to_the_byte(project: Project) -> None:
    project.database(RECORDS)
    project.steps(TWENTY)
    before = digest(project)
    running = project.start("run", "--require-approval")
    asked = question(running)
    project.call("approvals", "reject", asked["approval_id"], "--comment", "no")
    done = running.finish()
    assert (done.code, done.run["status"]) == (3, "rejected"), done
    assert digest(project) == before
    assert done.of("effect.finished") == []


def test_a_model_call_between_writes_makes_two_questions(project: Project, model: MockModel) -> None:
    project.database(RECORDS)
    project.steps("""
        @workflow.step
        async def both(context):
            await context.db.execute("UPDATE records SET name = 'Ada' WHERE id = 1")
            await context.db.execute("UPDATE records SET name = 'Bob' WHERE id = 2")
            ask = [{"role": "user", "content": "between"}]
            reply = await context.llm.chat(model="m", messages=ask, max_tokens=5)
            await context.db.execute("UPDATE records SET name = ? WHERE id = 3", [reply.text])
            return reply.text
    """)
    running = project.start("run", "--require-approval")
    first = question(running)
    assert len(first["evidence"]["writes"]) == 2
    assert model.asked() == {}, "the call waits until the writes before it are made"
    approve(project, first)
    second = question(running)
    assert second["evidence"]["params"] == ["You said: between"]
    assert project.rows("SELECT name FROM records ORDER BY id") == [("Ada",), ("Bob",), ("cyd",)]
    approve(project, second)
    done = running.finish()
    assert done.code == 0, done
    assert model.asked() == {"between": 1}
    assert project.rows("SELECT name FROM records WHERE id = 3") == [("You said: between",)]


def test_a_stock_clients_call_waits_for_the_writes_and_holds_no_sandbox(project: Project, model: MockModel) -> None:
    project.database(RECORDS)
    project.steps("""
        import json, urllib.request

        @workflow.step
        def both(context):
            context.db.execute("UPDATE records SET name = 'Ada' WHERE id = 1")
            body = {"model": "m", "messages": [{"role": "user", "content": "stock"}], "max_tokens": 5}
            request = urllib.request.Request(
                os.environ["OPENAI_BASE_URL"] + "/chat/completions",
                json.dumps(body).encode(),
                {"content-type": "application/json"},
            )
            reply = json.load(urllib.request.urlopen(request))
            return reply["choices"][0]["message"]["content"]
    """)
    running = project.start("run", "--require-approval")
    asked = question(running)
    assert model.asked() == {}
    approve(project, asked)
    done = running.finish()
    assert (done.code, done.run["outputs"]["both"]) == (0, "You said: stock"), done
    assert model.asked() == {"stock": 1}
    assert project.rows("SELECT name FROM records WHERE id = 1") == [("Ada",)]


def test_rows_changed_meanwhile_run_the_step_again_from_its_first_write(project: Project) -> None:
    path = project.database(RECORDS)
    project.steps("""
        @workflow.step
        async def age(context):
            print("drawn", await context.random())
            await context.db.execute("UPDATE records SET name = 'Ada' WHERE id = 1")
            oldest = (await context.db.query("SELECT max(age) AS age FROM records")).scalar()
            when = await context.now()
            await context.db.execute("UPDATE records SET age = ? WHERE id = 1", [oldest + 1])
            return [oldest, str(when)]
    """)
    running = project.start("run", "--require-approval")
    first = question(running)
    project.rows_change(path, "UPDATE records SET age = 600, name = 'Cyd' WHERE id = 3")
    project.rows_change(path, "UPDATE records SET age = 11 WHERE id = 1")
    changed = digest(project)
    approve(project, first)
    second = question(running)
    assert digest(project) == changed, "nothing of the first question is made"
    assert second["evidence"]["changed_since"][0]["key"] == {"id": 1}
    assert second["evidence"]["writes"][1]["params"] == [601], "what it reads is as it is now"
    approve(project, second)
    done = running.finish()
    assert (done.code, done.run["outputs"]["age"][0]) == (0, 600), done
    assert project.rows(ALL) == [(1, "Ada", 601), (2, "bob", 400), (3, "Cyd", 600)]
    assert len(done.of("approval.superseded")) == 1
    # What came before the first write is kept: its random number was drawn once.
    assert len(done.of("effect.finished", kind="random")) == 1
    assert len(done.of("effect.finished", kind="db")) == 3


def test_rows_that_keep_changing_fail_the_step(project: Project) -> None:
    path = project.database(RECORDS)
    project.steps("""
        @workflow.step
        async def age(context):
            await context.db.execute("UPDATE records SET name = 'Ada' WHERE id = 1")
            await context.db.execute("UPDATE records SET name = 'Bob' WHERE id = 2")
    """)
    running = project.start("run", "--require-approval")
    for n in range(3):
        asked = question(running)
        project.rows_change(path, f"UPDATE records SET age = {n} WHERE id = 2")
        project.call("approvals", "approve", asked["approval_id"])
    done = running.finish()
    assert (done.code, done.run["error"]["code"]) == (1, "WFLO-7004"), done
    assert project.rows(ALL) == [START[0], (2, "bob", 2), START[2]]
    listed = project.call("approvals", "list", "--all", "--json")
    assert [a["status"] for a in listed.events] == ["superseded"] * 3, listed


def test_a_step_that_raises_before_the_question_leaves_nothing(project: Project) -> None:
    project.database(RECORDS)
    project.steps("""
        @workflow.step(retries=1, retry_backoff=0.01)
        async def breaks(context):
            await context.db.execute("DELETE FROM records WHERE id = 2")
            if context.attempt == 1:
                raise ValueError("after the write")
            await context.db.execute("DELETE FROM records WHERE id = 3")
            return context.attempt
    """)
    before = digest(project)
    running = project.start("run", "--require-approval")
    asked = question(running)
    # The write of the first generation was never made, so a retry repeats nothing.
    assert len(asked["evidence"]["writes"]) == 2 and asked["generation"] == 2
    assert digest(project) == before
    approve(project, asked)
    done = running.finish()
    assert (done.code, done.run["outputs"]["breaks"]) == (0, 2), done
    assert project.rows(ALL) == START[:1]
    assert project.rows("SELECT count(*) FROM _wflo_effects") == [(2,)]


def test_branches_that_write_at_once_are_asked_about_once(project: Project) -> None:
    project.database(RECORDS)
    project.steps("""
        @workflow.step
        async def branches(context):
            async def one(n):
                await context.db.execute("INSERT INTO numbers VALUES (?, ?)", [n, 0])
                await context.db.execute("UPDATE numbers SET square = ? WHERE n = ?", [n * n, n])
                await context.emit("done", {"n": n})
                return n
            return await asyncio.gather(*[one(n) for n in range(8)])
    """)
    running = project.start("run", "--require-approval")
    asked = question(running)
    assert len(asked["evidence"]["writes"]) == 16
    approve(project, asked)
    done = running.finish()
    assert (done.code, done.run["outputs"]["branches"]) == (0, list(range(8))), done
    assert len(done.of("approval.requested")) == 1
    assert project.rows("SELECT n, square FROM numbers ORDER BY n") == [(n, n * n) for n in range(8)]
    assert sorted(e["data"]["n"] for e in done.of("emitted")) == list(range(8))


def test_errors_of_previewed_writes_reach_the_step(project: Project) -> None:
    project.database(RECORDS)
    project.steps("""
        @workflow.step
        async def tries(context):
            await context.db.execute("INSERT INTO numbers VALUES (1, 1)")
            try:
                await context.db.execute("INSERT INTO numbers VALUES (1, 2)")
            except DatabaseError as error:
                code = error.code
            await context.db.execute("INSERT INTO numbers VALUES (2, 4)")
            return code
    """)
    running = project.start("run", "--require-approval")
    asked = question(running)
    assert [write["statement"] for write in asked["evidence"]["writes"]] == [
        "INSERT INTO numbers VALUES (1, 1)",
        "INSERT INTO numbers VALUES (2, 4)",
    ]
    approve(project, asked)
    done = running.finish()
    assert done.code == 0 and done.run["outputs"]["tries"].startswith("WFLO-6"), done
    assert project.rows("SELECT n FROM numbers") == [(1,), (2,)]


def test_a_snapshot_comes_after_the_writes_before_it(project: Project) -> None:
    project.database(RECORDS)
    project.steps("""
        @workflow.step
        async def undo(context):
            await context.db.execute("UPDATE records SET age = 11 WHERE id = 1")
            before = await context.db.snapshot()
            await context.db.execute("DELETE FROM records WHERE age > 100")
            done = await context.db.restore(before)
            return len(done.diff)
    """)
    running = project.start("run", "--require-approval")
    for _ in range(2):
        approve(project, question(running))
    done = running.finish()
    assert (done.code, done.run["outputs"]["undo"]) == (0, 2), done
    assert project.rows(ALL) == [(1, "ada", 11), *START[1:]]


def test_a_restore_is_asked_about_and_shows_whose_edits_it_overwrites(project: Project) -> None:
    path = project.database(RECORDS)
    project.steps("""
        @workflow.step(approval_required=True)
        async def test(context):
            before = await context.db.snapshot()
            await context.db.execute("UPDATE records SET name = 'approved' WHERE id = 1")
            await context.approve("look at it")
            would = await context.db.restore(before, on_conflict="skip", dry_run=True)
            done = await context.db.restore(before, on_conflict="force")
            return [len(would.diff), len(done.diff)]
    """)
    running = project.start("run")
    approve(project, question(running))
    looking = question(running)
    assert project.rows(ALL)[0] == (1, "approved", 10)
    project.rows_change(path, "UPDATE records SET name = 'a person' WHERE id = 1")
    approve(project, looking)
    asked = question(running)
    assert project.rows(ALL)[0] == (1, "a person", 10), "nothing is taken back before the answer"
    evidence = asked["evidence"]
    assert (evidence["name"], evidence["restore"]["on_conflict"]) == ("restore", "force"), evidence
    assert evidence["restore"]["conflicts"][0]["found"]["name"] == "a person", evidence
    change = evidence["change"]["changes"][0]
    assert (change["before"]["name"], change["after"]["name"]) == ("a person", "ada"), change
    shown = project.call("approvals", "show", asked["approval_id"]).out
    assert "OVERWRITES what others have written" in shown and "a person → ada" in shown, shown
    approve(project, asked)
    done = running.finish()
    assert (done.code, done.run["outputs"]["test"]) == (0, [0, 1]), done
    assert project.rows(ALL)[0] == START[0]


def test_a_restore_that_is_not_approved_restores_nothing(project: Project) -> None:
    project.database(RECORDS)
    project.steps("""
        @workflow.step
        async def test(context):
            before = await context.db.snapshot()
            await context.db.execute("UPDATE records SET name = 'approved' WHERE id = 1")
            await context.emit("made", {})
            await context.db.restore(before)
    """)
    running = project.start("run", "--require-approval")
    approve(project, question(running))
    project.call("approvals", "reject", question(running)["approval_id"])
    done = running.finish()
    assert (done.code, done.run["status"]) == (3, "rejected"), done
    assert project.rows(ALL)[0] == (1, "approved", 10)


def test_a_step_with_rollback_is_undone_after_its_approved_writes(project: Project) -> None:
    project.database(RECORDS)
    project.steps("""
        @workflow.step(approval_required=True, rollback_enabled=True)
        async def breaks(context):
            await context.db.bulk_update("records", [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}])
            await context.db.execute("DELETE FROM records WHERE id = 3")
            await context.emit("made", {})
            raise ValueError("the check after it")
    """)
    running = project.start("run")
    asked = question(running)
    assert [write["name"] for write in asked["evidence"]["writes"]] == ["bulk_update", "execute"]
    approve(project, asked)
    done = running.finish()
    assert done.code == 1 and "the check after it" in done.run["error"]["message"], done
    assert project.rows(ALL) == START


def test_writes_to_two_databases_are_one_question(project: Project) -> None:
    project.database(RECORDS)
    other = project.database("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)", "notes.db", "notes")
    project.steps("""
        @workflow.step
        async def both(context):
            await context.db.execute("UPDATE records SET age = 1 WHERE id = 2")
            await context.db["notes"].execute("INSERT INTO notes VALUES (1, 'seen')")
            await context.db.execute("UPDATE records SET age = 2 WHERE id = 3")
    """)
    running = project.start("run", "--require-approval")
    first = question(running)
    assert [write["database"] for write in first["evidence"]["writes"]] == ["main", "notes", "main"]
    before = digest(project)
    project.rows_change(other, "INSERT INTO notes VALUES (1, 'theirs')")
    project.call("approvals", "approve", first["approval_id"])
    # A conflict in the second is found before the first is written; now the statement itself fails.
    done = running.finish()
    assert done.code == 1 and "WFLO-6" in done.run["error"]["code"], done
    assert digest(project) == before


def test_an_early_question_is_answered_by_a_killed_engines_successor(project: Project) -> None:
    project.database(RECORDS)
    project.steps(TWENTY)
    running = project.start("run", "--require-approval")
    asked = question(running)
    running.kill()
    running.finish()
    wait_for(lambda: project.processes() == [], "its sandbox is gone")
    done = project.call("approvals", "approve", asked["approval_id"])
    assert done.code == 0, done
    run = project.show(asked["run_id"])
    assert (run["status"], run["outputs"]["fill"]) == ("completed", [20, 2470])
    shown = project.call("approvals", "show", asked["approval_id"], "--json")
    assert len(json.loads(shown.out)["evidence"]["writes"]) == 20


def test_a_question_holds_two_hundred_writes(project: Project) -> None:
    project.database(RECORDS)
    project.steps("""
        @workflow.step
        async def fill(context):
            for n in range(203):
                await context.db.execute("INSERT INTO numbers VALUES (?, ?)", [n, n])
    """)
    running = project.start("run", "--require-approval")
    held = []
    for _ in range(2):
        asked = question(running)
        held.append(len(asked["evidence"]["writes"]))
        approve(project, asked)
    assert running.finish().code == 0
    assert held == [200, 3]
    assert project.rows("SELECT count(*) FROM numbers") == [(203,)]


def test_a_time_out_while_people_are_asked_takes_no_write_back(project: Project, model: MockModel) -> None:
    project.database(RECORDS)
    project.steps("""
        @workflow.step
        async def both(context):
            await context.db.execute("UPDATE records SET name = 'Ada' WHERE id = 1")
            ask = [{"role": "user", "content": "too late"}]
            try:
                async with asyncio.timeout(0.2):
                    await context.llm.chat(model="m", messages=ask, max_tokens=5)
            except TimeoutError:
                await context.db.execute("UPDATE records SET name = 'Bob' WHERE id = 2")
            return "done"
    """)
    running = project.start("run", "--require-approval")
    # The call gave up before the question was put, so what follows is part of it.
    asked = question(running)
    assert len(asked["evidence"]["writes"]) == 2, asked["evidence"]
    approve(project, asked)
    done = running.finish()
    assert (done.code, done.run["outputs"]["both"]) == (0, "done"), done
    assert project.rows("SELECT name FROM records ORDER BY id") == [("Ada",), ("Bob",), ("cyd",)]
    assert model.asked() == {}


def test_a_cancelled_run_leaves_nothing_of_its_question(project: Project) -> None:
    project.database(RECORDS)
    project.steps(TWENTY)
    before = digest(project)
    running = project.start("run", "--require-approval")
    asked = question(running)
    assert project.call("runs", "cancel", asked["run_id"]).code == 0
    assert running.finish().code == 5
    assert digest(project) == before
    late = project.call("approvals", "approve", asked["approval_id"])
    assert late.code != 0, late
    assert digest(project) == before


def test_several_writes_are_shown_with_their_statements(project: Project) -> None:
    project.database(RECORDS)
    project.steps(TWENTY)
    running = project.start("run", "--require-approval")
    asked = question(running)
    shown = project.call("approvals", "show", asked["approval_id"])
    assert shown.code == 0 and "20 writes; numbers: 20 new" in shown.out, shown
    assert "write 20 of 20" in shown.out and "with [19,361]" in shown.out, shown

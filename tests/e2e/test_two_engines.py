"""Many runs, two engine processes, one data directory, and a killer.

Each round takes up what is left, by two processes at once, and kills them at random moments, until every
run has ended. Then everything is checked from the outside: the provider's own log against the journal,
the database's contents, the sums of the budgets, the numbers of the events, and what is left on the machine.

`WFLO_KILLER_SECONDS` makes it go on for as long; `WFLO_KILLER_SEED` repeats one that failed.
"""

import os
import random
import re
import threading
import time
from collections import Counter
from decimal import Decimal

import pytest
from model import MockModel
from project import Project, Running, wait_for

LIMIT = Decimal("0.60")
RUNS = 6
OVER = ("completed", "failed", "rejected", "halted", "cancelled", "timed_out")
WORKFLOW = """
    workflow.set_budget(max_cost_usd="0.60", action_on_exceeded="halt")

    def asked(context, word):
        name = context.inputs["name"]
        return dict(model="m", messages=[{"role": "user", "content": f"{name} {word}"}], max_tokens=10)

    async def note(context, what):
        await context.db.execute("INSERT INTO log (run, what) VALUES (?, ?)", [context.inputs["name"], what])

    @workflow.step
    async def ask(context):
        for n in range(3):
            text = (await context.llm.chat(**asked(context, f"ask {n}"))).text
            await note(context, text)
        done = await context.tools.run([sys.executable, "-c", "print(6 * 7)"])
        return done.stdout.strip()

    @workflow.step(depends_on=[])
    async def together(context):
        async def one(n):
            parts = [part.text async for part in context.llm.stream(**asked(context, f"together {n}"))]
            await note(context, "".join(parts))
        await asyncio.gather(*(one(n) for n in range(3)))
        await context.sleep(0.05)

    @workflow.step(approval_required=True, depends_on=["ask", "together"])
    async def change(context):
        await context.db.execute("UPDATE log SET checked = checked + 1 WHERE run = ?", [context.inputs["name"]])

    @workflow.step(rollback_enabled=True, retries=1, retry_backoff=0.01)
    async def fails_once(context):
        await context.db.execute("UPDATE log SET checked = checked + 10 WHERE run = ?", [context.inputs["name"]])
        if context.attempt == 1:
            raise ValueError("the first try")
        (context.workspace / "report.txt").write_text(context.inputs["name"])
        return (await context.llm.chat(**asked(context, "last"))).text
"""
WORDS = [f"ask {n}" for n in range(3)] + [f"together {n}" for n in range(3)] + ["last"]


class Killer:
    """Processes that take runs up, and their ends."""

    def __init__(self, project: Project, chance: random.Random) -> None:
        self.project, self.chance = project, chance
        self.kills = 0

    def start(self, *arguments: str) -> Running:
        running = self.project.start(*arguments)
        # Read on, so that a full pipe stops nobody.
        threading.Thread(target=self.read, args=(running,), daemon=True).start()
        threading.Timer(self.chance.uniform(0.05, 0.9), self.kill, [running]).start()
        return running

    def read(self, running: Running) -> None:
        while running.next() is not None:
            pass

    def kill(self, running: Running) -> None:
        if running.process.poll() is None and self.chance.random() < 0.8:
            running.kill()
            self.kills += 1

    def decide(self) -> None:
        """A person at a third terminal."""
        waiting = self.project.call("approvals", "list", "--json")
        for approval in waiting.events if waiting.out.strip() else []:
            if approval["status"] == "pending":
                self.project.call("approvals", "approve", approval["id"], "--no-drive")


def runs(project: Project) -> list[dict]:
    listed = project.call("runs", "list", "--json", "--limit", "10000")
    assert listed.code == 0, listed
    return listed.events if listed.out.strip() else []


def seeds() -> list[int]:
    named = os.environ.get("WFLO_KILLER_SEED")
    return [int(named)] if named else [1, 2]


@pytest.mark.parametrize("seed", seeds())
def test_two_engines_and_a_killer_lose_and_repeat_nothing(
    project: Project, model: MockModel, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    chance, until = random.Random(seed), time.monotonic() + float(os.environ.get("WFLO_KILLER_SECONDS", "0"))
    project.database(
        "CREATE TABLE log (id INTEGER PRIMARY KEY, run TEXT NOT NULL, what TEXT NOT NULL, checked INTEGER NOT NULL DEFAULT 0)"
    )
    project.steps(WORKFLOW)
    killer = Killer(project, chance)
    submitted, rounds, left = 0, 0, []
    deadline = time.monotonic() + 600 + max(0.0, until - time.monotonic())
    while submitted < RUNS or left or time.monotonic() < until:
        assert time.monotonic() < deadline, (seed, left)
        rounds += 1
        busy = [killer.start("run", "--input", f"name=run-{submitted}")] if submitted < RUNS or not left else []
        submitted += len(busy)
        # Two take up what is left; what one drives the other is refused.
        picked = chance.sample(left, min(len(left), 2 - len(busy)))
        busy += [killer.start("runs", "resume", run) for run in picked]
        # The last rounds are left alone, or a step dies too often in a row and is parked.
        if rounds > 40:
            killer.kill = lambda running: None  # type: ignore[method-assign]
        while any(running.process.poll() is None for running in busy):
            killer.decide()
        known = runs(project)
        left = [run["id"] for run in known if run["status"] not in OVER]
    with capsys.disabled():
        print(f"\nseed {seed}: {submitted} runs, {rounds} rounds, {killer.kills} kills")

    every = [project.show(run["id"]) for run in runs(project)]
    asked, log = model.asked(), project.rows("SELECT run, what, checked FROM log")
    accepted = {run["inputs"]["name"] for run in every}
    for run in every:
        name = run["inputs"]["name"]
        why = (seed, name, run["status"], run["error"])
        # A step that died five times in a row is parked, and only that.
        parked = run["status"] == "failed" and run["error"]["code"] == "WFLO-3001"
        assert run["status"] == "completed" or parked, why
        events = project.events(run["id"])
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), why
        ends = [event for event in events if event["type"] == "effect.finished" and event["kind"] == "llm"]
        places = Counter((e["step"], e["generation"], e["path"], e["effect_seq"]) for e in ends)
        assert set(places.values()) <= {1}, why
        # The books: what the calls cost is what the budget says, nothing is held, and never too much.
        budget = run["budget"]
        spent = sum((Decimal(end["cost_usd"]) for end in ends), Decimal(0))
        assert Decimal(budget["held_usd"]) == 0, why
        assert spent == Decimal(budget["settled_usd"]) == Decimal(run["cost_usd"]) <= LIMIT, (why, spent, budget)
        # The provider's log against the journal: asked more than once only where an answer was lost, and said so.
        uncertain = sum(bool(end.get("uncertain")) for end in ends)
        extra = {word: asked[f"{name} {word}"] - 1 for word in WORDS if asked[f"{name} {word}"] > 1}
        assert len(extra) <= uncertain, (why, extra, uncertain)
        billed = sum(asked[f"{name} {word}"] for word in WORDS) * Decimal("0.0003")
        assert billed <= spent, (why, billed, spent)
        # The database: each write once, the undone one not at all.
        mine = [(re.sub(rf"^You said: {name} ", "", what), checked) for who, what, checked in log if who == name]
        assert max(Counter(what for what, _ in mine).values(), default=0) <= 1, (why, mine)
        if run["status"] == "completed":
            assert Counter(mine) == {(word, 11): 1 for word in WORDS if word != "last"}, (why, mine)
            assert all(asked[f"{name} {word}"] >= 1 for word in WORDS), why
            done = [event["step"] for event in events if event["type"] == "step.succeeded"]
            assert sorted(done) == ["ask", "change", "fails_once", "together"], why
    # What was not accepted has done nothing.
    assert {who for who, _, _ in log} <= accepted
    assert {said.split()[0] for said in asked} <= accepted
    wait_for(lambda: project.processes() == [], f"no process is left: {project.processes()}")

"""Threads: each has a branch of its own, and what cannot be replayed is refused by name."""

from __future__ import annotations


def test_threads_of_a_sync_step(project):
    project.steps(
        """
from concurrent.futures import ThreadPoolExecutor
@workflow.step
def step(context):
    def work(n):
        branch = context.branch(f"row-{n}")
        return [branch.random(), branch.llm.chat(model="m", messages=[]).text]
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(work, range(8))) + [context.random()]
"""
    )
    seen = set()

    def respond(frame):
        seen.add((frame["path"], frame["seq"]))
        return 0.5 if frame["kind"] == "random" else {"text": frame["path"]}

    assert project.start().drive(respond)["output"] == [[0.5, f"0.row-{n}"] for n in range(8)] + [0.5]
    assert seen == {(f"0.row-{n}", seq) for n in range(8) for seq in (0, 1)} | {("0", 0)}


def test_threads_of_an_async_step(project):
    project.steps(
        """
import asyncio
@workflow.step
async def step(context):
    def work(branch):
        return branch.llm.chat(model="m", messages=[]).text
    return await asyncio.gather(*[asyncio.to_thread(work, context.branch(f"t{n}")) for n in range(5)])
"""
    )
    assert project.start().drive(lambda frame: {"text": frame["path"]})["output"] == [f"0.t{n}" for n in range(5)]


def test_threads_that_block_the_event_loop_still_get_their_answers(project):
    project.steps(
        """
from concurrent.futures import ThreadPoolExecutor
@workflow.step
async def step(context):
    branches = [context.branch(f"t{n}") for n in range(3)]
    with ThreadPoolExecutor(3) as pool:
        return sum(pool.map(lambda branch: branch.random(), branches))
"""
    )
    assert project.start().drive(lambda _: 1.0)["output"] == 3.0


def test_threads_replay(project):
    project.steps(
        """
from concurrent.futures import ThreadPoolExecutor, as_completed
@workflow.step
def step(context):
    order = []
    def work(n):
        branch = context.branch(f"t{n}")
        branch.sleep(n)
        order.append(n)
        branch.sleep(n)
    with ThreadPoolExecutor(4) as pool:
        for future in as_completed([pool.submit(work, n) for n in range(4)]):
            future.result()
    return order
"""
    )
    orders = {("0.t2", 0): 1, ("0.t0", 0): 2, ("0.t3", 0): 3, ("0.t3", 1): 4, ("0.t1", 0): 5, ("0.t0", 1): 6}
    engine = project.start(replay_length=len(orders))
    while True:
        frame = engine.receive("effect", "suspended", "succeeded", "failed")
        if frame["type"] == "effect":
            order = orders.get((frame["path"], frame["seq"]))
            engine.answer(frame, None, **({} if order is None else {"order": order}))
        elif frame["type"] != "suspended":
            break
    assert frame["output"] == [2, 0, 3, 1]


def refused(project, body, prefix="def"):
    project.steps(
        f"""
import threading, asyncio
def outcome(call):
    found = []
    def work():
        try:
            found.append(call())
        except StepError as error:
            found.append([error.code, error.message, error.hint])
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]
@workflow.step
{prefix} step(context):
    {body}
"""
    )
    return project.start().drive(lambda _: 0.5)["output"]


def test_a_thread_without_a_branch_is_refused(project):
    for body, prefix in (
        ("return outcome(lambda: context.random())", "def"),
        ("return outcome(lambda: asyncio.run(context.random()))", "async def"),
    ):
        code, message, hint = refused(project, body, prefix)
        assert code == "WFLO-3303"
        assert "does not belong to a branch" in message
        assert "context.branch" in hint


def test_a_branch_is_used_by_one_thread(project):
    body = 'branch = context.branch("a"); branch.random(); return outcome(branch.random)'
    assert refused(project, body)[0] == "WFLO-3303"


def test_branch_names_are_unique_and_plain(project):
    for name in ("'a'", "'7'", "''", "'a.b'", "3"):
        body = f"context.branch('a'); return outcome(lambda: context.branch({name}))"
        assert refused(project, body)[0] == "WFLO-3304", name


def test_a_branch_in_the_event_loop_is_refused(project):
    project.steps(
        """
@workflow.step
async def step(context):
    context.branch("a").random()
"""
    )
    error = project.start().end()["error"]
    assert error["code"] == "WFLO-3303"
    assert "block the event loop" in error["message"]

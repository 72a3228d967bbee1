"""Failures: the user's own lines, and the effect whose error it was."""

from __future__ import annotations

import sys

import pytest

REFUSAL = {"code": "WFLO-4001", "kind": "budget_exceeded", "message": "the budget is used up", "hint": "top up"}


def error_of(project, source, respond=None):
    project.steps(source)
    engine = project.start()
    while True:
        frame = engine.receive("effect", "suspended", "log", "succeeded", "failed")
        if frame["type"] == "effect":
            engine.answer(frame, **(respond or {"error": REFUSAL}))
        elif frame["type"] == "failed":
            return frame["error"]
        else:
            assert frame["type"] in ("suspended", "log"), frame


def lines(project, error):
    """The files and lines of a traceback."""
    found = [line.strip() for line in error["traceback"].splitlines() if line.strip().startswith("File")]
    return [line.replace(project.path + "/", "") for line in found]


@pytest.mark.parametrize("prefix", ["def", "async def"])
def test_a_traceback_shows_the_users_lines_only(project, prefix):
    error = error_of(
        project,
        f"""
def inner():
    raise ValueError("bad row")

@workflow.step
{prefix} step(context):
    inner()
""",
    )
    assert error["type"] == "ValueError"
    assert error["message"] == "bad row"
    assert error["place"] == "workflow.py:5"
    assert lines(project, error) == [
        'File "workflow.py", line 9, in step',
        'File "workflow.py", line 5, in inner',
    ]
    assert 'raise ValueError("bad row")' in error["traceback"]
    assert error["effect"] is None


@pytest.mark.parametrize(("prefix", "wait"), [("def", ""), ("async def", "await ")])
def test_an_effects_error_names_the_effect(project, prefix, wait):
    error = error_of(
        project,
        f"""
@workflow.step
{prefix} step(context):
    {wait}context.sleep(1) if False else None
    {wait}context.db.query("select 1")
""",
    )
    assert error["type"] == "wflo.errors.BudgetExceeded".rpartition(".")[2]
    assert (error["code"], error["hint"], error["message"]) == ("WFLO-4001", "top up", "the budget is used up")
    assert error["effect"] == {"path": "0", "seq": 0}
    assert error["place"] == "workflow.py:7"
    assert lines(project, error) == ['File "workflow.py", line 7, in step']


RAISING = {
    "the same error again": ("raise", True),
    "another, from it": ("raise RuntimeError('x') from error", True),
    "another, while handling it": ("raise RuntimeError('x')", True),
    "another, cut off": ("raise RuntimeError('x') from None", False),
}


@pytest.mark.parametrize("how", RAISING)
def test_errors_made_from_an_effects_error_stand_for_it(project, how):
    statement, stands = RAISING[how]
    error = error_of(
        project,
        f"""
@workflow.step
async def step(context):
    try:
        await context.now()
    except EffectError as error:
        {statement}
""",
    )
    assert error["effect"] == ({"path": "0", "seq": 0} if stands else None)


def test_an_error_after_a_handled_one_does_not_stand_for_it(project):
    error = error_of(
        project,
        """
@workflow.step
async def step(context):
    try:
        await context.now()
    except EffectError:
        pass
    raise ValueError("later")
""",
    )
    assert error["effect"] is None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with 3.11")
def test_a_group_with_one_effects_error_stands_for_it(project):
    error = error_of(
        project,
        """
import asyncio
@workflow.step
async def step(context):
    async with asyncio.TaskGroup() as group:
        group.create_task(context.now())
        group.create_task(asyncio.sleep(1000))
""",
    )
    assert error["type"] == "ExceptionGroup"
    assert error["effect"] == {"path": "0.0", "seq": 0}
    assert "the budget is used up" in error["traceback"]


@pytest.mark.parametrize(
    ("statement", "kind", "message"),
    [
        ("import sys; sys.exit(3)", "SystemExit", "called sys.exit(3)"),
        ("raise SystemExit('bye')", "SystemExit", "called sys.exit('bye')"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "interrupted"),
        ("raise GeneratorExit", "GeneratorExit", "GeneratorExit"),
        ("raise BaseException('odd')", "BaseException", "odd"),
        ("exit()", "SystemExit", "sys.exit(None)"),
    ],
)
@pytest.mark.parametrize("prefix", ["def", "async def"])
def test_leaving_in_odd_ways_is_a_failure(project, prefix, statement, kind, message):
    error = error_of(project, f"@workflow.step\n{prefix} step(context):\n    {statement}\n")
    assert error["type"] == kind
    assert message in error["message"]


def test_exceptions_that_cannot_be_shown(project):
    error = error_of(
        project,
        """
class Odd(Exception):
    def __str__(self):
        raise RuntimeError("no")
@workflow.step
def step(context):
    raise Odd
""",
    )
    assert error["type"] == "workflow.Odd"
    assert "cannot be shown" in error["message"]


def test_endless_recursion_and_huge_messages_fit_a_frame(project):
    error = error_of(project, "@workflow.step\ndef step(context):\n    return step(context)\n")
    assert error["type"] == "RecursionError"
    assert len(error["traceback"]) < 100_000
    error = error_of(
        project, "@workflow.step\ndef step(context):\n    raise ValueError('\\ud800' + 'x' * 50_000_000)\n"
    )
    assert len(error["message"]) < 100_000


def test_outputs_that_are_not_json(project):
    error = error_of(
        project,
        """
import datetime
@workflow.step
def step(context):
    return {"rows": [{"when": datetime.datetime.now()}]}
""",
    )
    assert error["type"] == "ValueNotJson"
    assert error["message"] == "outputs.rows[0].when is a datetime, which is not JSON"
    assert "isoformat" in error["hint"]


def test_states_that_are_not_json(project):
    error = error_of(project, "@workflow.step\ndef step(context):\n    context.state['x'] = {1}\n")
    assert error["message"] == "state.x is a set, which is not JSON"


def test_outputs_of_a_hundred_megabytes(project):
    error = error_of(project, "@workflow.step\ndef step(context):\n    return 'x' * 100_000_000\n")
    assert error["type"] == "ValueTooLarge"
    assert error["code"] == "WFLO-3302"
    assert "100,000" in error["message"]


def test_a_request_that_is_too_large_is_refused_before_it_is_sent(project):
    project.steps(
        """
@workflow.step
def step(context):
    try:
        context.emit("big", "x" * 9_000_000)
    except ValueTooLarge as error:
        return [error.code, context.random()]
"""
    )
    engine = project.start()
    frame = engine.effect()
    assert (frame["kind"], frame["seq"]) == ("random", 0)
    engine.answer(frame, 0.5)
    assert engine.end()["output"] == ["WFLO-3302", 0.5]


def test_a_sync_step_that_returns_something_to_await(project):
    error = error_of(
        project,
        """
import asyncio
async def work():
    return 1
@workflow.step
def step(context):
    return work()
""",
    )
    assert error["code"] == "WFLO-3305"
    assert "async def" in error["hint"]


def test_a_step_that_is_gone(project):
    project.steps("@workflow.step\ndef other(context):\n    pass\n")
    error = project.start().end()["error"]
    assert error["code"] == "WFLO-1503"
    assert "the code has changed" in error["hint"]


def test_cancelling_raises_into_the_step(project):
    for source, kind in (
        ("async def step(context):\n    await context.sleep(9)\n", "CancelledError"),
        ("def step(context):\n    context.sleep(9)\n", "StepCancelled"),
    ):
        project.steps("@workflow.step\n" + source)
        engine = project.start()
        engine.effect()
        engine.send({"type": "cancel", "reason": "timeout"})
        error = engine.end()["error"]
        assert error["type"].endswith(kind)
        assert "timeout" in error["message"]


def test_a_step_can_clean_up_when_it_is_cancelled(project):
    project.steps(
        """
import asyncio
@workflow.step
async def step(context):
    try:
        await context.sleep(1000)
    except asyncio.CancelledError:
        await context.emit("cleaned")
        raise
"""
    )
    engine = project.start()
    engine.effect()
    engine.send({"type": "cancel", "reason": "cancelled"})
    engine.answer(engine.effect())
    assert engine.end()["error"]["type"].endswith("CancelledError")


def test_a_step_cancelled_before_it_began_does_not_begin(project):
    for prefix in ("async def", "def"):
        project.steps(f"@workflow.step\n{prefix} step(context):\n    open('began', 'w')\n")
        engine = project.engine()
        engine.socket.setblocking(True)
        import json
        import struct

        frames = [
            {"type": "run_step", "project": project.path, "workflow": "workflow.py", "run": "r", "step": "step"},
            {"type": "cancel", "reason": "cancelled"},
        ]
        bodies = [json.dumps(frame).encode() for frame in frames]
        engine.send_bytes(b"".join(struct.pack(">I", len(body)) + body for body in bodies))
        assert engine.end()["type"] == "failed"
        assert not (project.folder / "began").exists()

"""Delivery: recorded answers come in their order, new ones after them, one at a time."""

from __future__ import annotations

import random

from wflo.runner.delivery import Deliveries

A, B, C = ("0.0", 0), ("0.1", 0), ("0.2", 0)


def result(order=None, **more):
    frame = {"type": "effect_result", **more}
    return frame if order is None else {**frame, "order": order}


def chunk(n):
    return {"type": "effect_chunk", "index": n, "delta": {"text": str(n)}}


def test_live_answers_come_in_order_of_arrival():
    queue = Deliveries(0)
    queue.add(B, result())
    queue.add(A, result())
    assert [queue.next({A, B})[0] for _ in range(2)] == [B, A]
    assert queue.next({A, B}) is None


def test_replayed_answers_come_in_their_order_however_they_arrive():
    rng = random.Random(7)
    keys = [(f"0.{n}", 0) for n in range(20)]
    for _ in range(50):
        queue = Deliveries(20)
        arrivals = list(enumerate(keys, start=1))
        rng.shuffle(arrivals)
        given = []
        for order, key in arrivals:
            queue.add(key, result(order))
            while (found := queue.next(set(keys))) is not None:
                given.append(found[0])
        assert given == keys


def test_live_answers_wait_for_the_end_of_replay():
    queue = Deliveries(2)
    queue.add(C, result())
    queue.add(B, result(2))
    assert queue.next({A, B, C}) is None
    queue.add(A, result(1))
    assert [queue.next({A, B, C})[0] for _ in range(3)] == [A, B, C]
    assert not queue.replaying


def test_an_answer_nobody_waits_for_is_passed_over():
    queue = Deliveries(2)
    queue.add(A, result(1))
    queue.add(B, result(2))
    assert queue.next({B})[0] == B


def test_the_lowest_held_is_given_when_the_next_was_never_asked_for():
    queue = Deliveries(5)
    queue.add(B, result(4))
    queue.add(C, result(3))
    assert queue.next({B, C}) is None
    assert queue.any({B, C})[0] == C
    assert queue.next({B, C})[0] == B


def test_a_recorded_cancellation_waits_for_the_step_to_cancel():
    queue = Deliveries(2)
    queue.add(A, result(1, cancelled=True))
    queue.add(B, result(2))
    assert queue.next({A, B}) is None
    assert queue.next({B})[0] == B


def test_parts_of_a_replayed_stream_come_at_its_turn_and_before_its_end():
    queue = Deliveries(2)
    queue.add(B, chunk(0))
    queue.add(B, chunk(1))
    queue.add(B, result(2))
    assert queue.next({A, B}) is None
    queue.add(A, result(1))
    types = [queue.next({A, B}) for _ in range(4)]
    assert [(key, frame["type"], frame.get("index")) for key, frame in types] == [
        (A, "effect_result", None),
        (B, "effect_chunk", 0),
        (B, "effect_chunk", 1),
        (B, "effect_result", None),
    ]


def test_parts_of_a_live_stream_wait_for_the_end_of_replay():
    queue = Deliveries(1)
    queue.add(B, chunk(0))
    assert queue.next({A, B}) is None
    queue.add(A, result(1))
    assert queue.next({A, B})[0] == A
    assert queue.next({B})[1]["type"] == "effect_chunk"


def test_the_same_answer_twice_is_given_once():
    queue = Deliveries(1)
    queue.add(A, result(1))
    queue.add(A, result(1))
    queue.add(A, result(2))
    assert queue.next({A})[0] == A
    assert queue.next(set()) is None
    assert not queue


def test_a_tool_may_be_answered_twice():
    queue = Deliveries(0)
    queue.add(A, result(ok={"execute": True}))
    assert queue.next({A})[1]["ok"] == {"execute": True}
    queue.add(A, result(ok={"exit_code": 0}))
    assert queue.next({A})[1]["ok"] == {"exit_code": 0}

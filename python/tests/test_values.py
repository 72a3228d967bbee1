"""Values: what is JSON goes through unchanged; what is not is named with its place."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import subprocess
import sys
from pathlib import Path

import pytest

from wflo import ValueNotJson, values


def refused(value: object, path: str = "outputs") -> ValueNotJson:
    with pytest.raises(ValueNotJson) as caught:
        values.plain(value, path)
    return caught.value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**63),
        2**64 - 1,
        1.5,
        1e300,
        "",
        '\u00e9\U0001f600\u2028\x00\n"\\',
        [],
        {},
        [1, [2, {"a": None}]],
        {"": "empty key", "k\u00e9y": [True, False]},
    ],
)
def test_json_goes_through_unchanged(value):
    plain = values.plain(value, "outputs")
    assert plain == value
    data = values.encode(plain)
    assert json.loads(data) == value
    assert values.decode(data) == value


def test_tuples_and_subclasses_become_plain():
    class Text(str):
        def __repr__(self):
            return "hidden"

    class Colour(enum.IntEnum):
        RED = 3

    plain = values.plain({"t": (1, 2), "s": Text("x"), "c": Colour.RED, Text("key"): 1}, "outputs")
    assert plain == {"t": [1, 2], "s": "x", "c": 3, "key": 1}
    assert type(plain["s"]) is str
    assert type(plain["c"]) is int


@pytest.mark.parametrize(
    ("value", "message", "hint"),
    [
        (
            {"rows": [1, 2, 3, {"when": datetime.datetime(2026, 1, 1)}]},
            "outputs.rows[3].when is a datetime",
            "isoformat",
        ),
        ({"cost": decimal.Decimal("1.5")}, "outputs.cost is a decimal.Decimal", "str(value)"),
        ([{"seen": {1, 2}}], "outputs[0].seen is a set", "sorted(value)"),
        ({"blob": b"x"}, "outputs.blob is a bytes", "base64"),
        ({"two words": object()}, "outputs['two words'] is a object", "return dicts"),
        (float("nan"), "outputs is nan", "None"),
        ([float("inf")], "outputs[0] is inf", "None"),
        ({"n": 2**64}, "outputs.n is an integer beyond 64 bits", "str(value)"),
        ({"s": "\ud800"}, "outputs.s holds half of a surrogate pair", "replace"),
        ({"a": {1: "x"}}, "outputs.a has the key 1, a int; keys must be text", "str(key)"),
        ({"g": (n for n in ())}, "outputs.g is a generator", "list(value)"),
    ],
)
def test_what_is_not_json_is_named(value, message, hint):
    error = refused(value)
    assert error.message.startswith(message)
    assert hint in error.hint
    assert error.code == "WFLO-3301"


def test_a_value_that_contains_itself_is_refused_with_a_short_message():
    value: list = []
    value.append(value)
    error = refused({"loop": value})
    assert "nested more than 100 levels" in error.message
    assert len(error.message) < 400


def test_a_forgotten_await_is_recognised():
    async def effect():
        return 1

    coroutine = effect()
    assert refused({"x": coroutine}).hint == "an `await` is missing"
    coroutine.close()


@pytest.mark.parametrize("data", [b"", b"{", b"nul", b"\xff", b'{"a":NaN}', b"[1] [2]", b"[" * 100_000, b'"\n"'])
def test_decode_refuses_what_is_not_one_json_value(data):
    with pytest.raises(ValueError):
        values.decode(data)


def test_decode_refuses_without_json_being_imported():
    """The accelerator takes its error class from `json.decoder`; a runner has not imported that."""
    code = """
import sys
from wflo import values
for data in (b"{{{{", b"[1", b'{"a"', b"tru"):
    assert "json" not in sys.modules or data != b"{{{{"
    try:
        values.decode(data)
    except ValueError:
        continue
    raise SystemExit(f"accepted {data!r}")
"""
    subprocess.run([sys.executable, "-S", "-c", code], check=True, env={"PYTHONPATH": str(Path(__file__).parents[1])})


def test_what_an_effect_answered_can_be_a_steps_output():
    from wflo.context.db import Executed
    from wflo.context.tools import ToolResult
    from wflo.context.world import Decision

    done = Executed({"rows_affected": 3, "last_insert_id": 7, "columns": ["id"], "rows": [[1]]})
    assert values.plain(done, "outputs") == {"rows_affected": 3, "last_insert_id": 7, "rows": [{"id": 1}]}
    ran = ToolResult({"exit_code": 2, "stdout": "a", "stderr": "b"})
    assert values.plain({"tool": ran}, "outputs")["tool"]["exit_code"] == 2
    assert values.plain(Decision({"approved": True, "by": "local:me"}), "outputs")["approved"] is True

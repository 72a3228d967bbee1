"""The context: what each call asks of the engine, the same awaited and not."""

from __future__ import annotations

import base64

import pytest

ANSWERS = {
    "chat": {
        "text": "hello",
        "tool_calls": [{"id": "1", "name": "look", "arguments": '{"x": 1}'}],
        "usage": {"input_tokens": 3, "output_tokens": 2},
        "cost_usd": "0.000123",
        "model": "m-1",
        "raw": {"id": "r"},
    },
    "query": {"columns": ["id", "blob"], "rows": [[1, {"$bytes": base64.b64encode(b"x\x00").decode()}], [2, None]]},
    "execute": {"columns": [], "rows": [], "rows_affected": 3, "last_insert_id": 9},
    "update": {"rows_affected": 1},
    "bulk_update": {"rows_affected": 2},
    "snapshot": {"snapshot": "snp_1", "capabilities": {"rows": True}},
    "restore": {"diff": [{"table": "t"}]},
    "sleep": None,
    "now": "2026-11-21T10:30:00.123456789Z",
    "random": 0.25,
    "uuid4": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "bytes": {"$bytes": base64.b64encode(b"abc").decode()},
    "emit": None,
    "approve": {"approved": True, "comment": "ok", "by": "local:ada"},
}

EXPECTED = [
    ("llm", "chat", {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "temperature": 0}),
    ("db", "query", {"database": None, "sql": "select ?", "params": [1, {"$bytes": "eA=="}]}),
    ("db", "execute", {"database": "other", "sql": "delete", "params": {"a": None}}),
    ("db", "update", {"database": None, "table": None, "rows": [{"id": 1}]}),
    ("db", "update", {"database": "third", "table": "t", "rows": [{"id": 1}]}),
    ("db", "bulk_update", {"database": None, "table": "t", "rows": [{"id": 1}, {"id": 2}]}),
    ("db", "bulk_update", {"database": None, "table": "u", "rows": [{"id": 3}]}),
    ("db", "snapshot", {"database": None, "tables": ["t"]}),
    ("db", "restore", {"database": None, "snapshot": "snp_1", "dry_run": True, "on_conflict": "skip"}),
    ("sleep", "sleep", {"seconds": "1.5"}),
    ("sleep", "sleep", {"seconds": "90.0"}),
    ("now", "now", {}),
    ("random", "random", {"kind": "random", "n": None}),
    ("random", "uuid4", {"kind": "uuid4", "n": None}),
    ("random", "bytes", {"kind": "bytes", "n": 3}),
    ("emit", "emit", {"name": "done", "data": {"n": 1}}),
    (
        "approval",
        "approve",
        {"message": "go?", "approvers": ["ops"], "details": {"n": 1}, "timeout_seconds": 60, "on_timeout": "hold"},
    ),
]

BODY = """
import datetime
@workflow.step
{prefix} step(context):
    answer = {wait}context.llm.chat(model="m", messages=[{{"role": "user", "content": "hi"}}], max_tokens=5, temperature=0)
    rows = {wait}context.db.query("select ?", [1, b"x"])
    executed = {wait}context.db.execute("delete", {{"a": None}}, database="other")
    {wait}context.db.update([{{"id": 1}}])
    {wait}context.db["third"].update({{"id": 1}}, table="t")
    two = {wait}context.db.bulk_update("t", ({{"id": n}} for n in (1, 2)))
    {wait}context.db.bulk_update([{{"id": 3}}], table="u")
    snapshot = {wait}context.db.snapshot(["t"])
    diff = {wait}context.db.restore(snapshot, dry_run=True, on_conflict="skip")
    {wait}context.sleep(1.5)
    {wait}context.sleep(datetime.timedelta(minutes=1.5))
    now = {wait}context.now()
    number = {wait}context.random()
    uuid = {wait}context.random.uuid4()
    data = {wait}context.random.bytes(3)
    {wait}context.emit("done", {{"n": 1}})
    decision = {wait}context.approve("go?", approvers=["ops"], details={{"n": 1}}, timeout_seconds=60, on_timeout="hold")
    context.log("message", n=1, odd={{1}})
    context.state["seen"] = context.state.get("seen", 0) + 1
    call = answer.tool_calls[0]
    return [
        answer.text, call.name, call.arguments, answer.usage["input_tokens"], str(answer.cost_usd), answer.raw["id"],
        [row["id"] for row in rows], rows[0]["blob"] == b"x\\x00", rows.columns, executed.rows_affected,
        executed.last_insert_id, two, len(diff), now.isoformat(), number, uuid, data.decode(), decision.by,
        context.run, context.step, context.inputs["a"], context.outputs["gate"]["approved"], str(context.workspace),
        context.attempt, context.resumes,
    ]
"""


@pytest.mark.parametrize(("prefix", "wait"), [("def", ""), ("async def", "await ")])
def test_every_effect(project, prefix, wait):
    project.steps(BODY.format(prefix=prefix, wait=wait))
    engine = project.start(
        inputs={"a": 1}, outputs={"gate": {"approved": True}}, state={"seen": 4}, attempt=2, generation=3
    )
    asked, logs = [], []
    while True:
        frame = engine.receive("effect", "suspended", "log", "succeeded", "failed")
        if frame["type"] == "effect":
            assert (frame["path"], frame["seq"]) == ("0", len(asked))
            asked.append((frame["kind"], frame["name"], frame["request"]))
            engine.answer(frame, ANSWERS[frame["name"]])
        elif frame["type"] == "log":
            logs.append(frame)
        elif frame["type"] != "suspended":
            break
    assert frame["type"] == "succeeded", frame
    assert asked == EXPECTED
    assert [(log["level"], log["message"], log["fields"]) for log in logs] == [
        ("info", "message", {"n": 1, "odd": "{1}"})
    ]
    assert frame["state"] == {"seen": 5}
    assert frame["output"] == [
        "hello", "look", {"x": 1}, 3, "0.000123", "r",
        [1, 2], True, ["id", "blob"], 3,
        9, 2, 1, "2026-11-21T10:30:00.123456+00:00", 0.25, ANSWERS["uuid4"], "abc", "local:ada",
        "run_0190", "step", 1, True, project.path,
        3, 1,
    ]  # fmt: skip


@pytest.mark.parametrize(("prefix", "wait"), [("def", ""), ("async def", "await ")])
def test_a_rejected_approval_stops_unless_told_to_go_on(project, prefix, wait):
    project.steps(
        f"""
@workflow.step
{prefix} step(context):
    first = {wait}context.approve("a?", on_rejected="continue")
    assert not first and first.comment == "no"
    {wait}context.approve("b?")
"""
    )
    frame = project.start().drive(lambda _: {"approved": False, "comment": "no", "by": "ada"})
    assert frame["error"]["type"] == "ApprovalRejected"
    assert "by ada: no" in frame["error"]["message"]
    assert frame["error"]["effect"] == {"path": "0", "seq": 1}


@pytest.mark.parametrize(("prefix", "wait"), [("def", ""), ("async def", "await ")])
def test_a_tool_runs_between_its_two_answers(project, prefix, wait):
    project.steps(
        f"""
import sys
@workflow.step
{prefix} step(context):
    result = {wait}context.tools.run([sys.executable, "-c", "print(open(0).read() + X)".replace("X", "__import__('os').environ['E']")],
                                     stdin="in-", env={{"E": "env"}})
    again = {wait}context.tools.run("recorded --before")
    try:
        {wait}context.tools.run(["/no/such/program"])
    except wflo.ToolFailed as error:
        code = error.result.exit_code
    kept = {wait}context.tools.run([sys.executable, "-c", "print('x' * 5_000_000)"], check=False)
    {wait}context.tools.run([sys.executable, "-c", "import sys; sys.exit('went wrong')"])
    return [result.stdout.strip(), again.stdout, code]
"""
    )
    engine = project.start()
    done = []
    while True:
        frame = engine.receive("effect", "effect_done", "suspended", "failed", "succeeded")
        if frame["type"] == "effect":
            if frame["request"]["argv"][0] == "recorded":
                assert frame["request"]["argv"] == ["recorded", "--before"]
                engine.answer(frame, {"exit_code": 0, "stdout": "from the journal", "stderr": ""})
            else:
                engine.answer(frame, {"execute": True})
        elif frame["type"] == "effect_done":
            done.append(frame["result"])
            engine.answer(frame, frame["result"])
        elif frame["type"] != "suspended":
            break
    assert done[0] == {"exit_code": 0, "stdout": "in-env\n", "stderr": ""}
    assert done[1]["exit_code"] == 127
    assert done[2]["truncated"] is True
    assert len(done[2]["stdout"]) == 2 * 1024 * 1024
    assert frame["error"]["type"] == "ToolFailed"
    assert "went wrong" in frame["error"]["message"]
    assert frame["error"]["effect"] == {"path": "0", "seq": 4}


def test_what_this_release_cannot_do_says_so(project):
    project.steps(
        """
@workflow.step
def step(context):
    found = [repr(context.secrets["key"])]
    for call in (context.secrets["key"].read, lambda: context.http.get("https://example.com")):
        try:
            call()
        except NotAvailable as error:
            found.append(error.code)
    return found
"""
    )
    engine = project.start()
    frame = engine.effect()
    assert (frame["kind"], frame["request"]["method"]) == ("http", "GET")
    engine.answer(frame, error={"code": "WFLO-3308", "kind": "not_available", "message": "later", "hint": None})
    assert engine.end()["output"] == ["Secret('key')", "WFLO-3308", "WFLO-3308"]


def test_names_that_are_not_there_are_explained(project):
    project.steps("@workflow.step\ndef step(context):\n    return context.inputs['recrods']\n")
    error = project.start(inputs={"records": []}).end()["error"]
    assert error["type"] == "InputMissing"
    assert "did you mean 'records'?" in error["message"]


def test_an_input_that_was_not_given_names_the_command_that_gives_it(project):
    project.steps(
        "@workflow.step\ndef step(context):\n    try:\n        context.inputs['records']\n"
        "    except KeyError:\n        return context.inputs['records']\n"
    )
    error = project.start().end()["error"]
    assert (error["code"], error["hint"]) == ("WFLO-1020", "`wflo run --input records=…`")


STEPS = """
@workflow.step
def first(context):
    return 1

@workflow.step(depends_on=[])
def aside(context):
    return 1

@workflow.step(depends_on=[first])
def step(context):
    return context.outputs[{name!r}]

@workflow.step
def last(context):
    return 1
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("frist", "no output named 'frist'; did you mean 'first'?"),
        ("aside", "'step' does not come after it; to see it write depends_on=['first', 'aside']"),
        ("last", "no output named 'last': it does not come before 'step'"),
        ("step", "no output named 'step': it does not come before 'step'"),
        ("large", "no output named 'large'; there are: first"),
    ],
)
def test_an_output_that_is_not_there_says_the_fix(project, name, message):
    project.steps(STEPS.format(name=name))
    error = project.start(outputs={"first": 1}).end()["error"]
    assert error["type"] == "KeyError"
    assert message in error["message"]


def test_an_output_that_is_too_large_to_come_along_is_named(project):
    project.steps(STEPS.replace("depends_on=[first]", "depends_on=[aside]").format(name="first"))
    error = project.start(outputs={"aside": 1}, outputs_left_out=["first"]).end()["error"]
    assert "the output of 'first' is too large" in error["message"]
    assert "depends_on=['aside', 'first']" in error["message"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("context.llm.chat(model='m', messages='hi')", "messages must be a list"),
        ("context.llm.chat(model='', messages=[])", "model must be the name of a model"),
        ("context.llm.chat(model='m', messages=[{'x': {1}}])", "llm.messages[0].x is a set"),
        ("context.db.query('select', 'text')", "params must be a list or a dict"),
        ("context.db.execute(3)", "sql must be text"),
        ("context.db.update('t')", "rows are missing"),
        ("context.db.restore('snp')", "restore takes what context.db.snapshot() returned"),
        ("context.sleep('1')", "sleep takes seconds"),
        ("context.sleep(-1)", "finite number of seconds"),
        ("context.emit('', 1)", "name must be text"),
        ("context.emit('x', {1: 2})", "data has the key 1"),
        ("context.approve('')", "message is empty"),
        ("context.approve('x', approvers='ops')", "must be a list of texts"),
        ("context.tools.run([])", "a command is a list"),
    ],
)
def test_mistakes_are_refused_before_anything_is_sent(project, call, message):
    project.steps(f"@workflow.step\ndef step(context):\n    {call}\n")
    engine = project.start()
    frame = engine.receive("failed")
    assert message in frame["error"]["message"]
    assert "workflow.py:6" in frame["error"]["place"]


def test_a_write_that_was_skipped_has_no_answer(project):
    project.steps(
        """
@workflow.step
def step(context):
    return [context.db.execute("delete").rows_affected, context.db.update([{"id": 1}]), context.tools.run(["x"]).stdout]
"""
    )
    assert project.start().drive(lambda _: None)["output"] == [0, 0, ""]

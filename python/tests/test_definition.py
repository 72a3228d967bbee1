"""Definitions: the users' sample as written, and mistakes named at the line they were made on."""

from __future__ import annotations

import datetime
import decimal

import pytest

import wflo
from wflo import (
    ApprovalGate,
    ApprovalPolicy,
    Backoff,
    CapBudget,
    Condition,
    CostLimit,
    DefinitionError,
    Deny,
    Notify,
    Policy,
    RequireApproval,
    Route,
    Workflow,
)

SAMPLE = """
from wflo import Workflow, ApprovalGate, ApprovalPolicy, CostLimit, Policy, Condition, RequireApproval, Notify

workflow = Workflow("data-processor")
workflow.set_budget(max_cost_usd=50.00, alert_thresholds=[0.5, 0.75, 0.9], action_on_exceeded="halt")
workflow.configure_sandbox(memory_limit="512m", cpu_limit="0.5", network_enabled=False, timeout_seconds=300)
workflow.add_policy(Policy(name="high_cost", condition=Condition("estimated_cost > 100"),
                           actions=[RequireApproval(approvers=["finance-team"]), Notify("slack://finance-channel")]))

@workflow.step(approval_required=True)
async def delete_old_records(context):
    await context.db.execute("DELETE FROM records WHERE age > 365")

@workflow.step(rollback_enabled=True, depends_on=["delete_old_records"], retries=2, timeout_seconds=60)
async def update_production_data(context):
    snapshot = await context.db.snapshot()
    try:
        await context.db.bulk_update("records", context.inputs["records"])
    except Exception:
        await context.db.restore(snapshot)
        raise

result = await workflow.run(inputs={"records": []}, sandbox=True, trace=True, notify="slack://prod")
"""


def test_the_sample_as_written(project):
    project.write("workflow.py", SAMPLE)
    frame = project.describe()
    assert frame["type"] == "definition", frame
    assert frame["definition"] == {
        "name": "data-processor",
        "version": None,
        "inputs": {},
        "budgets": [
            {
                "max_cost_usd": "50.0",
                "per": "run",
                "agent": None,
                "action_on_exceeded": "halt",
                "alert_thresholds": [0.5, 0.75, 0.9],
            }
        ],
        "sandbox": {"memory_limit": "512m", "cpu_limit": "0.5", "network_enabled": False, "timeout_seconds": 300},
        "policies": [
            {
                "name": "high_cost",
                "condition": "estimated_cost > 100",
                "place": "workflow.py:6",
                "actions": [
                    {"type": "require_approval", "approvers": ["finance-team"]},
                    {"type": "notify", "channel": "slack://finance-channel"},
                ],
            }
        ],
        "steps": [
            {
                "name": "delete_old_records",
                "type": "agent",
                "handler": "code",
                "approval": {"required": True},
                "place": "workflow.py:9",
                "depends_on": [],
            },
            {
                "name": "update_production_data",
                "type": "agent",
                "handler": "code",
                "rollback_enabled": True,
                "retries": 2,
                "timeout_seconds": 60,
                "place": "workflow.py:13",
                "depends_on": ["delete_old_records"],
            },
        ],
    }


def test_the_sample_restores_when_its_update_fails(project):
    project.write("workflow.py", SAMPLE)
    engine = project.start("update_production_data", inputs={"records": [{"id": 1, "blob": None}]})
    names = []
    while True:
        frame = engine.receive("effect", "suspended", "failed")
        if frame["type"] == "failed":
            break
        if frame["type"] == "suspended":
            continue
        names.append(frame["name"])
        if frame["name"] == "bulk_update":
            assert frame["request"] == {"database": None, "table": "records", "rows": [{"id": 1, "blob": None}]}
            error = {"code": "WFLO-6001", "kind": "database", "message": "constraint", "hint": None}
            engine.answer(frame, error=error)
        elif frame["name"] == "restore":
            assert frame["request"]["snapshot"] == "snp_1"
            engine.answer(frame, {"diff": []})
        else:
            engine.answer(frame, {"snapshot": "snp_1", "capabilities": {}})
    assert names == ["snapshot", "bulk_update", "restore"]
    assert frame["error"]["type"] == "DatabaseError"
    assert frame["error"]["effect"] == {"path": "0", "seq": 1}


def test_every_option():
    workflow = Workflow(
        "all", version="v1", inputs={"text": str, "n": {"type": "integer", "default": 3}, "o": {"type": list}}
    )
    workflow.set_budget(CostLimit("1.50", per="day", on_exceeded="ask", agent="writer", alert_thresholds=[0.5]))
    workflow.set_budget(decimal.Decimal("0.000000001"))
    workflow.configure_sandbox(pids_limit=64, disk_limit=1 << 20, cpu_limit=2, allow_hosts=["a.example"], env=["HOME"])
    workflow.configure_sandbox(io={"read": "50m", "write": 1 << 20, "read_ops": 100})
    workflow.configure_sandbox(inodes_limit=5000)
    workflow.configure_sandbox(network={"sent": "10m", "received": 1 << 20, "requests": 100})
    workflow.configure_sandbox(hide=["secret"], backend="native")
    workflow.add_policy(Policy("p", "true", [Deny("no"), CapBudget(1), Route("small")]))

    @workflow.step
    def first(context):
        pass

    @workflow.step(
        name="second-step",
        depends_on=[first],
        approval=ApprovalPolicy(
            approvers=["ops"], notify=["slack://x"], when="start", quorum=2, timeout_seconds=60, on_timeout="hold"
        ),
        retry_backoff=Backoff(0.5, jitter=False),
        agent="writer",
        budget=[CostLimit(1, per="step"), CostLimit(2)],
        cache=False,
        effect_class="guarded",
        on_ambiguous="rerun",
        timeout_seconds=datetime.timedelta(minutes=1),
    )
    async def second(context):
        pass

    gate = workflow.add(ApprovalGate("gate", approvers=["ops"], on_rejected="continue", message="Sure?"))

    @workflow.step(depends_on=[gate, "first"], retry_backoff=3, budget=0.25)
    async def third(context):
        pass

    @workflow.step(depends_on=[])
    async def root(context):
        pass

    definition = workflow.definition()
    assert definition["inputs"] == {
        "text": {"type": "string", "required": True},
        "n": {"type": "integer", "default": 3, "required": False},
        "o": {"type": "array", "required": True},
    }
    assert [budget["max_cost_usd"] for budget in definition["budgets"]] == ["1.50", "0.000000001"]
    assert definition["sandbox"]["cpu_limit"] == "2"
    assert definition["sandbox"]["io"] == {"read": "50m", "write": "1048576", "read_ops": 100}
    assert definition["sandbox"]["inodes_limit"] == 5000
    assert definition["sandbox"]["network"] == {"sent": "10m", "received": "1048576", "requests": 100}
    steps = {step["name"]: step for step in definition["steps"]}
    assert {name: step["depends_on"] for name, step in steps.items()} == {
        "first": [],
        "second-step": ["first"],
        "gate": ["second-step"],
        "third": ["gate", "first"],
        "root": [],
    }
    second_step = steps["second-step"]
    assert second_step["retry_backoff"] == {
        "initial_seconds": 0.5,
        "factor": 2.0,
        "max_seconds": 60.0,
        "jitter": False,
    }
    assert second_step["timeout_seconds"] == 60
    assert second_step["cache"] is False and "cache" not in steps["third"]
    assert [budget["per"] for budget in second_step["budgets"]] == ["step", "run"]
    assert steps["third"]["budgets"][0] == {
        "max_cost_usd": "0.25",
        "per": "step",
        "agent": None,
        "action_on_exceeded": None,
    }
    assert steps["gate"]["type"] == "approval"
    assert steps["gate"]["on_rejected"] == "continue"
    assert (
        steps["gate"]["place"].startswith("python/tests/test_definition.py:")
        or "test_definition.py" in steps["gate"]["place"]
    )


@pytest.mark.parametrize(
    ("amount", "wire"),
    [
        (50.00, "50.0"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (5, "5"),
        ("5.00", "5.00"),
        (decimal.Decimal("1E+2"), "100"),
        (0.1 + 0.2, None),
        (0.3, "0.3"),
    ],
)
def test_money_goes_out_exactly(amount, wire):
    if wire is None:
        with pytest.raises(DefinitionError, match="nine decimals"):
            CostLimit(amount)
    else:
        assert CostLimit(amount).wire()["max_cost_usd"] == wire


def test_time_is_a_limit_of_its_own():
    assert CostLimit(max_seconds=90, per="step").wire() == {
        "max_cost_usd": None,
        "per": "step",
        "agent": None,
        "action_on_exceeded": None,
        "max_seconds": 90,
    }
    assert repr(CostLimit(max_seconds=datetime.timedelta(minutes=2))) == "CostLimit(max_seconds=120.0, per='run')"
    workflow = Workflow("timed")
    workflow.set_budget(max_seconds=0.5, action_on_exceeded="ask")
    workflow.step(name="only")(lambda context: None)
    assert workflow.definition()["budgets"][0]["max_seconds"] == 0.5


def mistakes():
    workflow = Workflow("w")

    def step(**options):
        workflow.step(**options)(lambda context: None)

    yield lambda: Workflow(), "missing 1 required positional argument", None
    yield lambda: Workflow(""), "name is empty", None
    yield lambda: Workflow(3), "name must be text, not 3 (int)", None
    yield lambda: Workflow("x", inptus={}), "has no argument `inptus`", "did you mean `inputs`?"
    yield lambda: Workflow("x", inputs={"a": "text"}), "must be one of", None
    yield lambda: step(retires=2), "step() has no argument `retires`", "did you mean `retries`?"
    yield lambda: step(retries="2"), "retries must be a whole number", None
    yield lambda: step(retries=True), "retries must be a whole number", None
    yield lambda: step(depends_on="a"), "must be a list, not one text", 'depends_on=["a"]'
    yield lambda: step(depends_on=[3]), "depends_on[0] is 3", None
    yield lambda: step(approval_required="yes"), "approval_required must be True or False", None
    yield lambda: step(approval=True), "approval must be an ApprovalPolicy", "approval_required=True"
    yield lambda: step(timeout_seconds="60"), "timeout_seconds must be a number of seconds", "timeout_seconds=60"
    yield lambda: step(cache=0), "cache must be True or False", None
    yield lambda: step(effect_class="guard"), "effect_class is 'guard'", "did you mean `guarded`?"
    yield lambda: step(on_ambiguous="ignore"), "on_ambiguous is 'ignore'", None
    yield lambda: step(retry_backoff={"inital_seconds": 1}), "inital_seconds", "did you mean `initial_seconds`?"
    yield lambda: step(budget={"max": 1}), "budget must be an amount or a CostLimit", None
    yield lambda: step(), "this step has no name", None
    yield lambda: workflow.step("name"), "decorates a function", "depends_on"
    yield lambda: workflow.set_budget(), "takes one limit", None
    yield lambda: workflow.set_budget(max_seconds="9"), "must be a number of seconds", "max_seconds=60"
    yield lambda: workflow.set_budget(max_cost_usd="five"), "not an amount in dollars", 'max_cost_usd="5.00"'
    yield lambda: workflow.set_budget(max_cost_usd=float("nan")), "not an amount in dollars", None
    yield lambda: workflow.set_budget(max_cost_usd=1, action_on_exceeded="stop"), "must be one of", None
    yield lambda: workflow.set_budget(max_cost_usd=1, per="hours"), "per is 'hours'", "did you mean `hour`?"
    yield lambda: workflow.configure_sandbox(memory_limit="lots"), "memory_limit must be a size", '"512m"'
    yield lambda: workflow.configure_sandbox(memory=1), "has no argument `memory`", "did you mean `memory_limit`?"
    yield lambda: workflow.configure_sandbox(cpu_limit="half"), "must be a number of CPUs", '"0.5"'
    yield lambda: workflow.configure_sandbox(io="50m"), "io must be a dict of limits", '"read": "50m"'
    yield lambda: workflow.configure_sandbox(network={"send": 1}), "network has no limit", "did you mean `sent`?"
    yield lambda: workflow.configure_sandbox(io={"reads": 1}), "io has no limit 'reads'", "did you mean `read`?"
    yield lambda: workflow.configure_sandbox(io={"read": "fast"}), "io['read'] must be a size", None
    yield lambda: workflow.configure_sandbox(network_enabled="no"), "must be True or False", None
    yield lambda: workflow.add(lambda: None), "add() takes an ApprovalGate", "@workflow.step"
    yield lambda: workflow.add_policy("p"), "add_policy() takes a Policy", None
    yield lambda: Policy("p", Condition("true"), RequireApproval()), "actions must be a list", None
    yield lambda: Policy("p", Condition("true"), []), "has no actions", None
    yield lambda: Policy("p", Condition("true"), ["deny"]), "actions[0] is 'deny'", "Deny()"
    yield lambda: Notify("finance"), "must be a channel URL", "slack://finance"
    yield lambda: ApprovalGate("g", on_timeout="wait"), "on_timeout is 'wait'", None
    yield lambda: ApprovalGate("g", approvers="ops"), "must be a list of texts, not one text", 'approvers=["ops"]'
    yield lambda: CostLimit(1, per="minute"), "must be one of", None


@pytest.mark.parametrize(("make", "message", "hint"), list(mistakes()))
def test_mistakes_are_named_at_the_users_line(make, message, hint):
    with pytest.raises(DefinitionError) as caught:
        make()
    error = caught.value
    assert message in error.message
    assert error.code == "WFLO-1501"
    assert "test_definition.py:" in (error.place or "")
    assert hint is None or hint in (error.hint or "")
    assert error.code in str(error)


def out_of_range():
    workflow = Workflow("w")
    sandbox = workflow.configure_sandbox

    def step(**options):
        workflow.step(**options)(lambda context: None)

    yield lambda: step(retries=-1), "WFLO-1007", "must be at least 0"
    yield lambda: step(retries=101), "WFLO-1007", "must be at most 100"
    yield lambda: step(timeout_seconds=0), "WFLO-1007", "timeout_seconds must be above 0"
    yield lambda: step(timeout_seconds=datetime.timedelta(0)), "WFLO-1007", "timeout_seconds must be above 0"
    yield lambda: step(timeout_seconds=0.0001), "WFLO-1007", "must be at least 0.001"
    yield lambda: step(timeout_seconds=1e300), "WFLO-1007", "must be at most"
    yield lambda: step(timeout_seconds=float("inf")), "WFLO-1007", "must be a finite number"
    yield lambda: step(retry_backoff=Backoff(factor=0.5)), "WFLO-1007", "must be at least 1"
    yield lambda: step(retry_backoff=Backoff(factor=1001)), "WFLO-1007", "must be at most 1000"
    yield lambda: step(budget=CostLimit(1, per="day")), "WFLO-1009", "per run, step or agent"
    yield lambda: workflow.set_budget(max_cost_usd=-1), "WFLO-1007", "which is negative"
    yield lambda: workflow.set_budget(max_cost_usd=1, alert_thresholds=[50]), "WFLO-1007", "fractions go up to 1"
    yield lambda: ApprovalPolicy(quorum=0), "WFLO-1007", "must be at least 1"
    yield lambda: ApprovalGate("g", timeout_seconds=0), "WFLO-1007", "timeout_seconds must be above 0"
    yield lambda: sandbox(memory_limit="15m"), "WFLO-1007", "memory_limit must be at least 16m"
    yield lambda: sandbox(memory_limit=4096), "WFLO-1007", "memory_limit must be at least 16m"
    yield lambda: sandbox(disk_limit="1k"), "WFLO-1007", "disk_limit must be at least 1m"
    yield lambda: sandbox(inodes_limit=99), "WFLO-1007", "must be at least 100"
    yield lambda: sandbox(inodes_limit=5 << 20), "WFLO-1007", "must be at most 4194304"
    yield lambda: sandbox(pids_limit=1), "WFLO-1007", "must be at least 2"
    yield lambda: sandbox(network={"sent": "0"}), "WFLO-1007", "network['sent'] must be at least 1"
    yield lambda: sandbox(network={"sent": "2t"}), "WFLO-1007", "network['sent'] must be at most 1t"
    yield lambda: sandbox(network={"connections": 1001}), "WFLO-1007", "must be at most 1000"
    yield lambda: sandbox(network={"requests": 0}), "WFLO-1007", "it must be at least 1"
    yield lambda: sandbox(io={"read_ops": 0}), "WFLO-1007", "io['read_ops'] is 0; it must be at least 1"
    yield lambda: sandbox(io={"write": "0"}), "WFLO-1007", "io['write'] must be at least 1"
    yield lambda: sandbox(cpu_limit=0), "WFLO-1007", "must be at least 0.001"
    yield lambda: sandbox(cpu_limit="1001"), "WFLO-1007", "must be at most 1000"
    for bad in ("has space", "9lives", "täglich", "x" * 65, "-a", "a.b"):
        shown = "use letters, digits, _ and -, starting with a letter, at most 64"
        yield lambda bad=bad: Workflow(bad), "WFLO-1002", f"`{bad}` is not a workflow name: {shown}"
        yield lambda bad=bad: step(name=bad), "WFLO-1002", f"`{bad}` is not a step name: {shown}"
        yield lambda bad=bad: ApprovalGate(bad), "WFLO-1002", f"`{bad}` is not a step name: {shown}"


@pytest.mark.parametrize(("make", "code", "message"), list(out_of_range()))
def test_what_the_engine_would_refuse_is_refused_at_the_users_line_with_its_code(make, code, message):
    with pytest.raises(DefinitionError) as caught:
        make()
    assert message in caught.value.message
    assert caught.value.code == code
    assert "test_definition.py:" in (caught.value.place or "")


def test_a_function_whose_name_is_no_step_name():
    def täglich(context):
        pass

    workflow = Workflow("w")
    with pytest.raises(DefinitionError) as caught:
        workflow.step(täglich)
    assert caught.value.code == "WFLO-1002"
    assert caught.value.hint == 'such as "t-glich"'
    workflow.step(name="t-glich")(täglich)
    assert workflow.step_named("t-glich")


def test_sizes_are_read_as_the_engine_reads_them():
    workflow = Workflow("w")
    workflow.configure_sandbox(memory_limit="1.5g", disk_limit="2048 k", cpu_limit=0.25)
    assert workflow.definition()["sandbox"] == {"memory_limit": "1.5g", "disk_limit": "2048 k", "cpu_limit": "0.25"}
    for wrong in ("1.g", ".5g", "1e3", "g", "", "-1m"):
        with pytest.raises(DefinitionError) as caught:
            workflow.configure_sandbox(memory_limit=wrong)
        assert caught.value.code == "WFLO-1501", wrong


def test_an_error_with_lines_below_keeps_them():
    error = DefinitionError("not CEL\n  a b\n    ^", code="WFLO-1008", hint="mend it", place="workflow.py:3")
    assert str(error) == "workflow.py:3: not CEL [WFLO-1008]\n  a b\n    ^\n  hint: mend it"


def test_two_steps_of_one_name():
    workflow = Workflow("w")

    @workflow.step
    def same(context):
        pass

    with pytest.raises(DefinitionError) as caught:
        workflow.step(name="same")(print)
    assert caught.value.code == "WFLO-1003"
    assert "the first is at " in caught.value.message and "test_definition.py" in caught.value.message


def test_unknown_dependencies_are_named_with_the_nearest_step():
    workflow = Workflow("w")

    @workflow.step
    def load(context):
        pass

    @workflow.step(depends_on=["laod"])
    def use(context):
        pass

    with pytest.raises(DefinitionError) as caught:
        workflow.definition()
    assert caught.value.code == "WFLO-1004"
    assert caught.value.hint == "did you mean `load`?"
    assert "test_definition.py" in (caught.value.place or "")


def test_functions_that_cannot_be_steps():
    workflow = Workflow("w")

    def generator(context):
        yield 1

    async def stream(context):
        yield 1

    def nothing():
        pass

    for function, message in ((generator, "generator"), (stream, "generator"), (nothing, "takes no argument")):
        with pytest.raises(DefinitionError, match=message) as caught:
            workflow.step(function)
        assert caught.value.code == "WFLO-1507"


def test_a_decorated_function_stays_callable():
    workflow = Workflow("w")

    @workflow.step
    def double(context):
        return 2 * context

    @workflow.step(retries=1)
    def triple(context):
        return 3 * context

    assert (double(2), triple(2)) == (4, 6)


def test_everything_exported_is_there():
    for name in wflo.__all__:
        assert getattr(wflo, name) is not None
    with pytest.raises(AttributeError):
        wflo.nothing  # noqa: B018

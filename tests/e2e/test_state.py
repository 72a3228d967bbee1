"""`context.state` between steps that run beside each other, and what a step sees of the steps before it."""

from project import Project

TWO = """
    import time

    @workflow.step(depends_on=[])
    async def a(context):
        context.state["{a}"] = context.state.get("{a}", 0) + 1
        await context.sleep({sleep_a})

    @workflow.step(depends_on=[])
    async def b(context):
        context.state["{b}"] = context.state.get("{b}", 0) + 1
        await context.sleep({sleep_b})

    @workflow.step(depends_on=[a, b])
    async def c(context):
        return dict(context.state)
"""


def test_what_parallel_steps_changed_is_all_there(project: Project) -> None:
    for sleep_a, sleep_b in ((0, 0.2), (0.2, 0)):
        project.steps(TWO.format(a="n", b="m", sleep_a=sleep_a, sleep_b=sleep_b))
        done = project.run()
        assert done.code == 0 and done.run["outputs"]["c"] == {"n": 1, "m": 1}, done


def test_one_key_changed_beside_each_other_is_refused_whoever_ends_last(project: Project) -> None:
    errors = []
    for sleep_a, sleep_b in ((0, 0.2), (0.2, 0)):
        project.steps(TWO.format(a="n", b="n", sleep_a=sleep_a, sleep_b=sleep_b))
        done = project.run()
        assert done.code == 1, done
        assert [s["status"] for s in done.run["steps"]] == ["completed", "completed", "failed"], done
        errors.append(done.run["error"])
    assert errors[0] == errors[1]
    assert errors[0]["code"] == "WFLO-3027"
    assert "`a` and `b`" in errors[0]["message"] and "`n`" in errors[0]["message"]
    mended = TWO.replace("depends_on=[])\n    async def b", "depends_on=[a])\n    async def b")
    project.steps(mended.format(a="n", b="n", sleep_a=0, sleep_b=0))
    again = project.call("runs", "retry", "latest", "--json")
    assert again.code == 0, again
    assert again.run["outputs"]["c"] == {"n": 2}, "the second sees what the first made of it"


def test_a_step_that_is_resumed_sees_what_it_began_with(project: Project) -> None:
    project.steps("""
    @workflow.step(depends_on=[])
    async def slow(context):
        seen = sorted(context.state)
        await context.approve("go on?")
        return [seen, sorted(context.state)]

    @workflow.step(depends_on=[])
    async def quick(context):
        context.state["quick"] = True

    @workflow.step(depends_on=[slow, quick])
    async def last(context):
        return sorted(context.state)
    """)
    running = project.start("run")
    running.until("run.waiting")
    running.kill()
    running.finish()
    done = project.call("approvals", "approve", "latest", "--json")
    assert done.code == 0, done
    assert done.run["outputs"] == {"slow": [[], []], "quick": None, "last": ["quick"]}, done


def test_the_third_step_of_a_line_reads_the_first(project: Project) -> None:
    project.steps("""
    @workflow.step
    def first(context):
        return 1

    @workflow.step
    def second(context):
        return context.outputs["first"] + 1

    @workflow.step
    def third(context):
        return dict(context.outputs)
    """)
    done = project.run()
    assert done.code == 0 and done.run["outputs"]["third"] == {"first": 1, "second": 2}, done


def test_a_long_line_of_large_outputs_still_fits(project: Project) -> None:
    steps = "".join(
        f"""
    @workflow.step
    def s{n}(context):
        assert "s{n - 1}" in context.outputs or {n} == 0
        return "x" * (1 << 20)
    """
        for n in range(9)
    )
    project.steps(
        steps
        + """
    @workflow.step
    def last(context):
        return context.outputs["s0"]
    """
    )
    done = project.run()
    assert done.code == 1, done
    message = done.run["error"]["message"]
    assert "too large" in message and "depends_on=['s8', 's0']" in message, message

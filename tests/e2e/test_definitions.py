"""What a definition's mistakes look like, and how what a step cost reaches conditions and templates."""

from decimal import Decimal

from model import MockModel
from project import Project
from terminal import Terminal

POLICY = """
    workflow.add_policy(Policy("dear", Condition("{}"), [Deny()]))

    @workflow.step
    def load(context):
        pass
"""

FLOW = """
apiVersion: wflo.dev/v1
kind: Workflow
name: costs
policies:
  - {name: dear, condition: "estimated_cost > 100.0", actions: [{type: deny}]}
steps:
  - {name: ask, type: agent, model: m, prompt: hello, max_tokens: 10}
  - {name: cheap, type: condition, when: outputs.ask.cost_usd > 0.0 && outputs.ask.cost_usd < 1.0}
  - {name: tell, type: tool, run: [echo, "{{ outputs.ask.cost_usd }}"], depends_on: [cheap, ask]}
"""


def test_a_policy_that_names_what_is_not_there_is_refused_at_its_line(project: Project) -> None:
    near = "did you mean `outputs.load`?"
    for condition, code, message, hint in [
        ("outputs.laod > 1", "WFLO-1013", "policy `dear`: `outputs.laod` names no step", near),
        ("estimated_cst > 1", "WFLO-1008", "names `estimated_cst`", None),
        ("cost > 1 and cost < 2", "WFLO-1008", "write `&&`\n  cost > 1 and cost < 2\n           ^", None),
    ]:
        project.steps(POLICY.format(condition))
        done = project.run()
        assert done.code == 2, done
        error = done.events[-1]["error"]
        assert error["code"] == code and message in error["message"], error
        assert error["place"] == "workflow.py:4" and error.get("hint") == hint, error
    # The code stands behind the first line, the caret below the expression.
    shown = project.call("run").err
    assert "write `&&` [WFLO-1008]\n  cost > 1 and cost < 2\n           ^\n" in shown, shown


def test_what_a_prompt_cost_is_exact_and_conditions_compare_it(project: Project, model: MockModel) -> None:
    project.write("flow.yaml", FLOW)
    done = project.run("flow.yaml")
    assert done.code == 0, done
    outputs = done.run["outputs"]
    cost = outputs["ask"]["cost_usd"]
    assert isinstance(cost, str) and Decimal(cost) == Decimal(done.run["cost_usd"]) > 0, outputs
    assert set(outputs["ask"]) == {"text", "model", "usage", "cost_usd"}
    assert outputs["tell"]["stdout"].strip() == cost


def test_a_person_is_told_once_where_there_is_more_about_the_errors(project: Project) -> None:
    project.write("flow.yaml", FLOW.replace("outputs.ask.cost_usd > 0.0", "outputs.aks.cost_usd = 0.0"))
    with Terminal(project, "run", "flow.yaml") as screen:
        assert screen.end() == 2, screen.text
        assert screen.text.count("see: wflo explain WFLO-1008") == 1, screen.text
    assert "see:" not in project.call("run", "flow.yaml").err
    with Terminal(project, "run", "flow.yaml", "-q") as screen:
        assert screen.end() == 2 and "see:" not in screen.text, screen.text
    with Terminal(project, "explain", "nothing-like-it") as screen:
        assert screen.end() == 2 and "see:" not in screen.text, screen.text


def test_a_page_is_wrapped_to_its_terminal(project: Project) -> None:
    with Terminal(project, "explain", "3301", columns=60) as screen:
        assert screen.end() == 0
        assert max(map(len, screen.text.splitlines())) <= 76, screen.text
        prose = [line for line in screen.text.splitlines() if not line.startswith("    ")]
        assert max(map(len, prose)) <= 60, screen.text
        assert "`" not in "\n".join(prose), "code is in colour instead"


def test_an_exception_is_shown_once(project: Project) -> None:
    project.steps("""
        @workflow.step
        def divide(context):
            return 1 / 0
    """)
    done = project.call("run")
    assert done.code == 1
    assert done.err.count("ZeroDivisionError: division by zero") == 2, done  # the step's line, and the error
    assert done.err.rstrip().splitlines()[-1].strip() != "ZeroDivisionError: division by zero"
    shown = project.call("runs", "show", "latest")
    assert shown.out.count("ZeroDivisionError: division by zero") == 1, shown

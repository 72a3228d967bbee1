"""Workflows in JavaScript: the same promises, kept by the runner for Node."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from model import MockModel
from project import Project

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from node import node

HEAD = 'import { Workflow } from "wflo";\nexport const workflow = new Workflow("e2e");\n'
ASK = """
    const asked = (word) => ({ model: "m", max_tokens: 10, messages: [{ role: "user", content: word }] });
"""


@pytest.fixture
def steps(project: Project):
    """Writes a project's `workflow.mjs`."""
    project.environment["WFLO_NODE"] = str(node())
    project.write("wflo.toml", project.settings.replace("workflow.py", "workflow.mjs"))
    project.settings = project.settings.replace("workflow.py", "workflow.mjs")

    def write(source: str) -> None:
        project.write("workflow.mjs", HEAD + source)

    return write


def test_everything_that_a_step_is_given_works(project: Project, steps):
    project.database("CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT, data BLOB)")
    steps("""
import fs from "node:fs/promises";

workflow.step(async function first(context) {
  const { db, state, log } = context;
  const done = await db.execute("INSERT INTO log (what, data) VALUES (?, ?)", ["a", new Uint8Array([0, 255])]);
  state.times = 1;
  log("written", { rows: done.rows_affected });
  await context.emit("done", { n: 1 });
  const bytes = (await db.query("SELECT data FROM log"))[0].data;
  return { id: done.last_insert_id, bytes: [...bytes], now: (await context.now()) instanceof Date };
});

workflow.step(async function second({ inputs, outputs, state, random, llm, tools, sleep, workspace }) {
  state.times += 1;
  await sleep(0.01);
  const made = await tools.run(["sh", "-c", "echo made > made.txt; cat made.txt"]);
  const answer = await llm.chat({ model: "m", max_tokens: 10, messages: [{ role: "user", content: "hello" }] });
  const parts = [];
  for await (const { text } of llm.stream({ model: "m", max_tokens: 10, messages: [{ role: "user", content: "stream" }] })) {
    parts.push(text);
  }
  await fs.writeFile(`${workspace}/report.md`, await fs.readFile(`${workspace}/made.txt`));
  const [one, id] = [await random(), await random.uuid4()];
  return [inputs.n, outputs.first.id, state.times, made.stdout, answer.text, parts.join(""), one < 1 && id.length === 36];
});
""")
    done = project.call("run", "--json", "--input", "n=7")
    assert done.code == 0, done
    outputs = done.run["outputs"]
    assert outputs["first"] == {"id": 1, "bytes": [0, 255], "now": True}
    assert outputs["second"] == [7, 1, 2, "made\n", "You said: hello", "You said: stream", True]
    changed = project.call("diff", "latest", "--json").events
    assert {line["path"] for line in changed} == {"made.txt", "report.md"}


KILLED = f"""
{ASK}
workflow.step(async function ask({{ llm, db, random }}) {{
  for (let n = 0; n < 3; n += 1) {{
    const {{ text }} = await llm.chat(asked(`ask ${{n}}`));
    await db.execute("INSERT INTO log (what) VALUES (?)", [text]);
    await random();
  }}
}});

workflow.step(async function together({{ branch, llm, db, sleep, inputs, resumes }}) {{
  const one = async (n) => {{
    const {{ text }} = await llm.chat(asked(`together ${{n}}`));
    await db.execute("INSERT INTO log (what) VALUES (?)", [text]);
    return text;
  }};
  const said = await Promise.all([0, 1, 2].map((n) => branch(() => one(n))));
  await sleep(0.05);
  // Whoever is to be killed here is not at its end before.
  if (inputs.hold && resumes === 0) await new Promise((wake) => setTimeout(wake, 3_600_000));
  return said;
}});
"""


@pytest.mark.parametrize("nth", [1, 2, 3, 5, 8, 10, 12, 14])
def test_a_kill_after_any_effect_repeats_nothing_that_had_finished(project: Project, model: MockModel, steps, nth: int):
    project.database("CREATE TABLE log (id INTEGER PRIMARY KEY, what TEXT)")
    steps(KILLED)
    # The first step has nine effects.
    run = project.start("run", "--input", f"hold={int(nth > 9)}")
    for _ in range(nth):
        run.until("effect.finished")
    run.kill()
    run.finish()
    done = project.call("runs", "resume", "latest", "--json")
    assert done.code == 0, done
    wanted = [f"You said: {word} {n}" for word in ("ask", "together") for n in range(3)]
    assert sorted(what for (what,) in project.rows("SELECT what FROM log")) == wanted
    # A call that was under way when it was killed may be made again; one that had finished never.
    assert len(model.entries) <= len(wanted) + 3


def test_stock_clients_find_the_gateway_and_are_replayed(project: Project, model: MockModel, steps):
    steps("""
workflow.step(async function ask(context) {
  const call = (word) =>
    fetch(`${process.env.OPENAI_BASE_URL}/chat/completions`, {
      method: "POST",
      headers: { authorization: `Bearer ${process.env.OPENAI_API_KEY}`, "content-type": "application/json" },
      body: JSON.stringify({ model: "m", max_tokens: 10, messages: [{ role: "user", content: word }] }),
      signal: AbortSignal.timeout(600_000),
    }).then((answer) => answer.json()).then((body) => body.choices[0].message.content);
  const first = await call("first");
  const { approved } = await context.approve("Go on?");
  return [first, await call("second"), approved];
});
""")
    waiting = project.start("run")
    waiting.until("run.waiting")
    waiting.kill()
    waiting.finish()
    done = project.call("approvals", "approve", "latest", "--json")
    assert done.code == 0, done
    assert project.call("runs", "show", "latest", "--json").events[0]["outputs"]["ask"] == [
        "You said: first",
        "You said: second",
        True,
    ]
    assert len(model.entries) == 2, "the first call is answered from the journal"


MISTAKES = {
    "an effect without await": ('db.execute("SELECT 1"); return 1;', "WFLO-3313", "await context.db.execute"),
    "an error of its own": ('throw new RangeError("too far");', "RangeError", "too far"),
    "a rejection that nobody handles": (
        'Promise.reject(new RangeError("lost")); await sleep(60);',
        "RangeError",
        "lost",
    ),
    "an error in a timer": (
        'setTimeout(() => { throw new RangeError("late"); }, 1); await sleep(60);',
        "RangeError",
        "late",
    ),
    "an output that is not JSON": ("return { a: [new Map()] };", "WFLO-3301", "outputs.a[0] is a Map"),
    "a number that is none": ("return 0 / 0;", "WFLO-3301", "NaN"),
    "the end of the process": ("process.exit(0);", "WFLO-3306", "process.exit"),
    "an input that was not given": ("return inputs.age;", "WFLO-1020", "--input age="),
    "a host": ('await fetch("http://127.0.0.1:65001/");', "TypeError", "no network"),
    "a package that is not there": ('await import("surely-not-there");', "Error", "npm install surely-not-there"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_said_with_its_place(project: Project, steps, mistake: str):
    code, kind, said = MISTAKES[mistake]
    project.database("CREATE TABLE log (id INTEGER PRIMARY KEY)")
    steps(f"\nworkflow.step(async function wrong({{ db, sleep, inputs }}) {{\n  {code}\n}});\n")
    done = project.call("run")
    assert done.code == 1, done
    assert kind in done.err and said in done.err, done
    assert "workflow.mjs:" in done.err and "runner/main.mjs" not in done.err, done


def test_what_cannot_be_a_workflow_is_refused_before_anything_runs(project: Project, steps):
    for source, said in {
        "workflow.step(42);": "WFLO-1507",
        "workflow.step(async () => 1);": "WFLO-1002",
        "workflow.step({ dependson: [] }, async function a() {});": "did you mean `depends_on`",
        'workflow.step({ depends_on: ["b"] }, async function a() {});': "WFLO-1004",
        "const x = ;": "SyntaxError",
        "export const other = new Workflow('other');": "WFLO-1505",
    }.items():
        steps(source)
        done = project.call("run")
        assert done.code != 0 and said in done.err, (source, done)
        assert "workflow.mjs" in done.err, (source, done)
    project.environment["WFLO_NODE"] = "/nowhere/node"
    done = project.call("run")
    assert "WFLO-3040" in done.err and "WFLO_NODE" in done.err, done


def test_it_works_without_a_sandbox_too(project: Project, steps):
    steps("\nworkflow.step(async function ok({ random }) {\n  return typeof (await random());\n});\n")
    done = project.call("run", "--json", "--sandbox", "none")
    assert done.code == 0, done
    assert done.run["outputs"] == {"ok": "number"}


def test_a_step_can_neither_change_its_runner_nor_speak_for_it(project: Project, steps):
    steps("""
import fs from "node:fs";
import path from "node:path";
import { execFileSync } from "node:child_process";

workflow.step(async function tries() {
  const main = process.argv[1];
  const tried = [];
  for (const change of [() => fs.appendFileSync(main, "x"), () => fs.writeFileSync(path.join(path.dirname(main), "x"), "")]) {
    try {
      change();
      tried.push("changed");
    } catch (error) {
      tried.push(error.code);
    }
  }
  const inherited = execFileSync("sh", ["-c", "ls /proc/self/fd"], { encoding: "utf-8" });
  return [tried, inherited.trim().split("\\n").length, process.env.WFLO_RUNNER_FD ?? null];
});

workflow.step(async function closes() {
  fs.closeSync(3);
  fs.writeSync(fs.openSync("x.txt", "w"), "y");
});
""")
    done = project.call("run", "--json")
    assert done.code == 1, done
    (tried,) = done.of("step.succeeded", step="tries")
    assert tried["output"] == [["EROFS", "EROFS"], 4, None], tried
    assert done.run["status"] == "failed", done


def test_the_example_runs_and_asks_before_it_closes(project: Project, tmp_path: Path):
    project.environment["WFLO_NODE"] = str(node())
    example = Path(__file__).resolve().parents[2] / "examples" / "node_agent"
    here = project.at(Path(shutil.copytree(example, tmp_path / "example")))
    subprocess.run([node(), "make_data.mjs"], cwd=here.folder, check=True)
    run = here.start("run", "--require-approval", "--input", "age=100")
    run.until("approval.requested", step="close_tickets")
    assert here.call("approvals", "approve", "latest").code == 0
    done = run.finish()
    assert done.code == 0 and done.run["outputs"]["close_tickets"] == 2, done
    assert here.rows("SELECT count(*) FROM tickets WHERE status = 'closed'", "data/tickets.db") == [(2,)]

"""The conformance test of the worker protocol: does a runner, in any language, keep it?

    python tests/conformance/conformance.py --project DIR --workflow TARGET -- RUNNER COMMAND...

The runner is started once for each check with its end of a socket in `WFLO_RUNNER_FD`. `DIR`
holds the same workflow written for the runner's language: `tests/conformance/python/workflow.py`
is the pattern, and `docs/protocol.md` names each step and what it must do. Exit code 0 when every
check passes, 1 otherwise. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fake_engine import FakeEngine, Journal, Violation


class Runner:
    """How to start the runner under test."""

    def __init__(self, command: list[str], project: str, workflow: str) -> None:
        self.command = command
        self.project = project
        self.workflow = workflow

    def engine(self, **options: Any) -> FakeEngine:
        """A runner that has been greeted."""
        return FakeEngine(self.command, cwd=self.project, **options)

    def start(self, step: str, **more: Any) -> FakeEngine:
        """A runner in which a step has begun."""
        engine = self.engine()
        engine.start(self.project, self.workflow, step, **more)
        return engine


def expect(condition: bool, what: str) -> None:
    """Fails the check unless `condition` holds."""
    if not condition:
        raise Violation(what)


def hello(runner: Runner) -> None:
    """Both sides say hello; the runner answers with its language and versions."""
    with runner.engine() as engine:
        expect(engine.hello["protocol"] == 1, f"protocol is {engine.hello['protocol']}")


def hello_of_another_version(runner: Runner) -> None:
    """A protocol version that the runner does not speak ends it with a message."""
    with runner.engine(greet=False) as engine:
        engine.send({"type": "hello", "protocol": 999})
        code, stderr = engine.ended()
        expect(code != 0, "it went on")
        expect("999" in stderr, "its message does not name the version")


def goodbye(runner: Runner) -> None:
    """Hanging up between requests ends the runner without an error."""
    with runner.engine() as engine:
        engine.close()
        code, _ = engine.ended()
        expect(code == 0, f"it ended with {code}")


def describe(runner: Runner) -> None:
    """`describe` gives the definition, the files it came from and the interpreter."""
    with runner.engine() as engine:
        frame = engine.describe(runner.project, runner.workflow)
        expect(frame["type"] == "definition", f"{frame}")
        definition = frame["definition"]
        expect(definition["name"] == "conformance", "the workflow's name")
        steps = {step["name"]: step for step in definition["steps"]}
        expected = ["echo", "order", "branches", "waits", "fails", "stream", "tool", "files", "gives_up", "prints"]
        missing = set(expected) - set(steps)
        expect(not missing, f"steps are missing: {sorted(missing)}")
        expect(all(isinstance(step.get("depends_on"), list) for step in steps.values()), "depends_on is explicit")
        limits = {"memory_limit": "64m", "io": {"read": "1m", "write_ops": 5}}
        expect(definition.get("sandbox") == limits, f"limits of the sandbox are {definition.get('sandbox')}")
        expect(frame["files"] == sorted(frame["files"]) and frame["files"], "files are listed in order of name")
        expect(all(not name.startswith("/") for name in frame["files"]), "files are relative to the project")


def describe_what_is_not_there(runner: Runner) -> None:
    """A workflow that cannot be loaded gives `failed` with a message, and the runner lives on."""
    with runner.engine() as engine:
        frame = engine.describe(runner.project, "no-such-file-anywhere")
        expect(frame["type"] == "failed", f"{frame}")
        expect(engine.describe(runner.project, runner.workflow)["type"] == "definition", "it did not live on")


def run_step(runner: Runner) -> None:
    """`run_step` gives the step its inputs, outputs and state, and ends with its output and state."""
    given = {"inputs": {"a": [1, "\u00e9\U0001f600"]}, "outputs": {"dep": {"x": None}}, "state": {"n": 1}}
    with runner.start("echo", **given) as engine:
        end = engine.end()
        expect(end["type"] == "succeeded", f"{end}")
        expect(end["output"] == {"inputs": given["inputs"], "outputs": given["outputs"]}, f"{end['output']}")
        expect(end["state"] == {"n": 2}, f"{end['state']}")


def prepare(runner: Runner) -> None:
    """`prepare` is answered by nothing, may come twice, and changes nothing of the step behind it."""
    with runner.engine() as engine:
        for _ in range(2):
            engine.send({"type": "prepare", "project": runner.project, "workflow": runner.workflow})
        engine.start(runner.project, runner.workflow, "echo", state={"n": 1})
        end = engine.end()
        expect(end["type"] == "succeeded" and end["state"] == {"n": 2}, f"{end}")
    with runner.engine() as engine:
        engine.send({"type": "prepare", "project": runner.project, "workflow": runner.workflow})
        engine.close()
        code, _ = engine.ended()
        expect(code == 0, f"it ended with {code}")


def sequence(runner: Runner) -> None:
    """Effects of the main branch are ("0", 0), ("0", 1), ... and answers reach the step."""
    with runner.start("order") as engine:
        for seq in range(3):
            frame = engine.effect()
            expect((frame["path"], frame["seq"]) == ("0", seq), f"{frame}")
            expect((frame["kind"], frame["request"]) == ("random", {"kind": "random", "n": None}), f"{frame}")
            engine.answer(frame, seq / 4)
        expect(engine.end()["output"] == [0.0, 0.25, 0.5], "the answers")


def branches(runner: Runner) -> None:
    """Three concurrent branches are "0.0", "0.1" and "0.2", each with a count of its own."""
    with runner.start("branches") as engine:
        first = engine.effects(3)
        expect(set(first) == {("0.0", 0), ("0.1", 0), ("0.2", 0)}, f"{sorted(first)}")
        engine.answer(first[("0.1", 0)], 0.5)
        frame = engine.effect()
        expect((frame["path"], frame["seq"]) == ("0.1", 1), f"{frame['path']}, {frame['seq']}")


def replay_order(runner: Runner) -> None:
    """Recorded answers reach the step in their order, whatever order they arrive in."""
    for finish in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        journal = Journal()
        with runner.start("branches") as engine:
            first = engine.effects(3)
            for n in finish:
                journal.record(engine, first[(f"0.{n}", 0)], 0.5)
                engine.effect()
        for backwards in (False, True):
            with runner.start("branches", replay_length=3) as engine:
                asked = engine.effects(3)
                for key in sorted(asked, reverse=backwards):
                    expect(journal.replay(engine, asked[key]), "a recorded effect")
                for frame in engine.effects(3).values():
                    engine.answer(frame, 0.5)
                output = engine.end()["output"]
                expect(output == finish, f"first {finish}, on resume {output}")


def replay_of_failure(runner: Runner) -> None:
    """A recorded refusal is raised at the same point again."""
    error = {"code": "WFLO-4001", "kind": "budget_exceeded", "message": "used up", "hint": "top up"}
    with runner.start("fails", replay_length=1) as engine:
        frame = engine.effect()
        engine.answer(frame, error=error, order=1)
        end = engine.end()
        expect(end["type"] == "failed", f"{end}")
        expect(end["error"].get("effect") == {"path": "0", "seq": 0}, "it names the effect")
        expect("used up" in end["error"]["message"], "it has the message")


def failure(runner: Runner) -> None:
    """An exception of the step's own names no effect, and shows the user's place."""
    with runner.start("fails", inputs={"own": True}) as engine:
        end = engine.end()
        expect(end["type"] == "failed", f"{end}")
        expect(end["error"].get("effect") is None, "no effect")
        expect(end["error"]["message"] == "its own error", f"{end['error']}")
        expect(bool(end["error"].get("place")), "a place")


def suspend(runner: Runner) -> None:
    """A step that only the engine can wake says `suspended` with all it waits for, then goes on."""
    with runner.start("waits") as engine:
        effects = engine.effects(2)
        frame = engine.receive("suspended")
        on = sorted((item["path"], item["seq"]) for item in frame["on"])
        expect(on == sorted(effects), f"suspended on {on}, asked for {sorted(effects)}")
        first, second = sorted(effects)
        engine.answer(effects[first])
        while True:
            # What was said before the answer arrived may still come.
            frame = engine.receive("suspended")
            on = [(item["path"], item["seq"]) for item in frame["on"]]
            if len(on) < 2:
                break
        expect(on == [second], "what is left")
        engine.answer(effects[second])
        expect(engine.end()["type"] == "succeeded", "it goes on")


def crash_while_suspended(runner: Runner) -> None:
    """When the engine hangs up on a waiting step the runner ends without running its code."""
    with runner.start("waits") as engine:
        engine.effects(2)
        engine.receive("suspended")
        engine.close()
        code, _ = engine.ended()
        expect(code != 0, "it must not look like success")


def stream(runner: Runner) -> None:
    """A streamed effect gets its parts in order, then its result."""
    with runner.start("stream") as engine:
        frame = engine.effect()
        for index, text in enumerate(["a", "b", "c"]):
            chunk = {"type": "effect_chunk", "path": frame["path"], "seq": frame["seq"], "index": index}
            engine.send({**chunk, "delta": {"text": text}})
        engine.answer(frame, {"text": "abc", "usage": {}, "cost_usd": "0.1"})
        expect(engine.end()["output"] == [["a", "b", "c"], "abc"], "parts and text")


def tool(runner: Runner) -> None:
    """A tool runs only when told to; its result counts once the engine has answered it."""
    with runner.start("tool") as engine:
        frame = engine.effect()
        expect(frame["kind"] == "tool" and frame["request"]["argv"] == ["echo", "hello"], f"{frame}")
        engine.answer(frame, {"execute": True})
        done = engine.receive("effect_done", "suspended")
        while done["type"] == "suspended":
            done = engine.receive("effect_done", "suspended")
        expect((done["path"], done["seq"]) == (frame["path"], frame["seq"]), "the same identity")
        expect(done["result"]["stdout"] == "hello\n", f"{done['result']}")
        engine.answer(frame, {**done["result"], "stdout": "as recorded"})
        expect(engine.end()["output"] == "as recorded", "the recorded result")
    with runner.start("tool", replay_length=1) as engine:
        engine.answer(engine.effect(), {"exit_code": 0, "stdout": "from before", "stderr": ""}, order=1)
        expect(engine.end()["output"] == "from before", "no second run")


def files(runner: Runner) -> None:
    """A recorded tool's files are put back at its turn, before its result is given out."""
    recorded = {"exit_code": 0, "stdout": "", "stderr": ""}
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(runner.project, folder, dirs_exist_ok=True)
        work = Path(folder)
        (work / "old").mkdir()
        (work / "old" / "file").write_text("x")
        with runner.engine() as engine:
            engine.start(folder, runner.workflow, "files", replay_length=1)
            tool = engine.effect()
            engine.answer(tool, {"restore": True}, order=1)
            said = engine.receive("effect_done")
            expect((said["path"], said["seq"]) == (tool["path"], tool["seq"]), "the same identity")
            expect(said["result"] == {"restore": True}, f"{said}")
            base64 = {"made": "bWFkZSA=", "before": "YmVmb3JlCg==", "bytes": "Yv9i"}
            deltas: list[dict[str, Any]] = [
                {"remove": "old"},
                {"remove": "was-never-there"},
                {"folder": "new/inner", "mode": 0o755},
                {"file": "made.txt", "data": {"$bytes": base64["made"]}},
                {"file": "made.txt", "data": {"$bytes": base64["before"]}, "mode": 0o640, "modified_ns": "1000000001"},
                {"link": "new/link", "target": "../made.txt"},
                {"file": {"$bytes": base64["bytes"]}, "data": {"$bytes": ""}, "mode": 0o600},
                {"mode_of": "new/inner", "mode": 0o500},
            ]
            for index, delta in enumerate(deltas):
                chunk = {"type": "effect_chunk", "path": tool["path"], "seq": tool["seq"], "index": index}
                engine.send({**chunk, "delta": delta})
            engine.answer(tool, recorded, order=1)
            end = engine.end()
        expect(end.get("output") == "made before\n", f"{end}")
        made = (work / "made.txt").stat()
        expect((made.st_mode & 0o777, made.st_mtime_ns) == (0o640, 1_000_000_001), "mode and time")
        expect(not (work / "old").exists(), "what was removed")
        expect((work / "new" / "link").read_text() == "made before\n", "the link")
        expect((work / "new" / "inner").stat().st_mode & 0o777 == 0o500, "the folder's mode")
        expect(Path(os.fsdecode(os.fsencode(folder) + b"/b\xffb")).exists(), "a name that is no text")
        (work / "new" / "inner").chmod(0o755)


def places(runner: Runner) -> None:
    """Each effect says after how many recorded answers it was asked for."""
    journal = Journal()
    with runner.start("order") as engine:
        for after in range(3):
            frame = engine.effect()
            expect(frame.get("after") == after, f"{frame} is not after {after}")
            journal.record(engine, frame, 0.5)
        engine.end()
    with runner.start("order", replay_length=2) as engine:
        for after in range(3):
            frame = engine.effect()
            expect(frame.get("after") == after, f"on resume, {frame} is not after {after}")
            journal.replay(engine, frame) if after < 2 else engine.answer(frame, 0.5)


def gives_up(runner: Runner) -> None:
    """A wait that was given up is given up again, whichever part of what followed was recorded."""
    features = ("effect_cancelled",)

    def first(facts: int) -> Journal:
        """Kills the engine after so many facts."""
        journal = Journal()
        with runner.engine(features=features) as engine:
            engine.start(runner.project, runner.workflow, "gives_up", inputs={"seconds": 0.05})
            slow = engine.effect()
            given_up = engine.receive("effect_cancelled")
            expect((given_up["path"], given_up["seq"]) == (slow["path"], slow["seq"]), f"{given_up}")
            expect(given_up.get("after") == 0, f"{given_up}")
            then = engine.effect()
            expect(then.get("after") == 0, f"{then}")
            made = [
                lambda: journal.ask(slow),
                lambda: journal.cancel(given_up),
                lambda: journal.ask(then),
                lambda: journal.record(engine, slow, 0.25),
                lambda: journal.record(engine, then, 0.75),
            ]
            for fact in made[:facts]:
                fact()
        return journal

    for facts in range(2, 6):
        journal = first(facts)
        with runner.engine(features=features) as engine:
            # It would take an hour by the clock: it happens by the record.
            more = {"inputs": {"seconds": 3600}, **journal.resume()}
            engine.start(runner.project, runner.workflow, "gives_up", **more)
            for _ in range(2):
                frame = engine.effect()
                if not journal.replay(engine, frame):
                    engine.answer(frame, 0.75)
            end = engine.end()
            expect(end.get("output") is False, f"after {facts} facts: {end}")


def an_answer_in_time(runner: Runner) -> None:
    """An answer that was recorded before anything was done without it is given in time."""
    journal, inputs = Journal(), {"seconds": 3600}
    with runner.start("gives_up", inputs=inputs) as engine:
        journal.record(engine, engine.effect(), 0.25)
        engine.effect()
    with runner.start("gives_up", inputs=inputs, **journal.resume()) as engine:
        expect(journal.replay(engine, engine.effect()), "it was asked for before")
        frame = engine.effect()
        expect(frame.get("after") == 1, f"{frame}")
        engine.answer(frame, 0.75)
        expect(engine.end()["output"] is True, "in time")


def prints(runner: Runner) -> None:
    """What a step prints never gets into the frames."""
    with runner.start("prints") as engine:
        expect(engine.end()["type"] == "succeeded", "it succeeds")


def cancel(runner: Runner) -> None:
    """`cancel` reaches a waiting step, which then fails."""
    with runner.start("waits") as engine:
        engine.effects(2)
        engine.send({"type": "cancel", "reason": "timeout"})
        end = engine.end()
        expect(end["type"] == "failed", f"{end}")
        expect("timeout" in end["error"]["message"], "it says why")


def unknown_frames(runner: Runner) -> None:
    """Frames of a later version, and answers to nothing, are passed over."""
    with runner.start("order") as engine:
        frame = engine.effect()
        engine.send({"type": "from_the_future", "x": 1})
        engine.send({"type": "effect_result", "path": "0.7", "seq": 9, "ok": None})
        engine.send({"type": "effect_chunk", "path": "0", "seq": 77, "index": 0, "delta": {}})
        engine.answer(frame, 0.5, from_the_future=True)
        engine.answer(frame, 0.75)
        for _ in range(2):
            engine.answer(engine.effect(), 0.25)
        expect(engine.end()["output"] == [0.5, 0.25, 0.25], "the first answer counts")


HOSTILE = {
    "a length over the limit": struct.pack(">I", 8 * 1024 * 1024 + 1),
    "the greatest length": b"\xff\xff\xff\xff",
    "not JSON": struct.pack(">I", 4) + b"{{{{",
    "not UTF-8": struct.pack(">I", 4) + b"\xff\xfe\xfd\xfc",
    "not an object": struct.pack(">I", 2) + b"[]",
    "no type": struct.pack(">I", 2) + b"{}",
    "nothing": struct.pack(">I", 0),
    "very deep": struct.pack(">I", 100_000) + b"[" * 100_000,
}


def hostile(runner: Runner) -> None:
    """Bytes that are not frames end the runner, with an exit code that is not 0."""
    for name, data in HOSTILE.items():
        with runner.start("order") as engine:
            engine.effect()
            engine.send_bytes(data)
            code, _ = engine.ended()
            expect(code != 0, f"{name}: it ended with 0")


def cut_off(runner: Runner) -> None:
    """A frame that never ends is not acted on."""
    with runner.start("order") as engine:
        engine.effect()
        engine.send_bytes(struct.pack(">I", 100) + b'{"type"')
        engine.close()
        code, _ = engine.ended()
        expect(code != 0, "it ended with 0")


CHECKS: list[Callable[[Runner], None]] = [
    hello,
    hello_of_another_version,
    goodbye,
    describe,
    describe_what_is_not_there,
    run_step,
    prepare,
    sequence,
    branches,
    replay_order,
    replay_of_failure,
    failure,
    suspend,
    crash_while_suspended,
    stream,
    tool,
    files,
    places,
    gives_up,
    an_answer_in_time,
    prints,
    cancel,
    unknown_frames,
    hostile,
    cut_off,
]


def main() -> int:
    """Runs every check and prints one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", required=True, help="folder with the conformance workflow")
    parser.add_argument("--workflow", required=True, help="what `describe` is given, such as workflow.py")
    parser.add_argument("command", nargs="+", help="the runner's command, after --")
    arguments = parser.parse_args()
    runner = Runner(arguments.command, arguments.project, arguments.workflow)
    bad = 0
    for check in CHECKS:
        try:
            check(runner)
            print(f"ok    {check.__name__}: {check.__doc__}")
        except Exception as error:
            bad += 1
            print(f"FAIL  {check.__name__}: {check.__doc__}\n      {error}")
            if not isinstance(error, Violation):
                traceback.print_exc()
    print(f"{len(CHECKS) - bad} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

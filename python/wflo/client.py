"""Starting runs from a user's script: the installed `wflo` binary as a child process.

Owns finding the binary, its command line, and reading its events. The child embeds the engine:
progress and questions go to the terminal through its standard error, events come as one JSON
object a line on its standard output, the last one being `run.finished`.
"""

from __future__ import annotations

import os
import sys

from . import arguments
from .errors import DefinitionError, RunNotStarted
from .origin import calling_place
from .result import RunResult, completed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .workflow import Workflow

    OnEvent = Callable[[dict[str, Any]], object]

_LINE_LIMIT = 256 * 1024 * 1024
"""The longest event line read, in bytes (a run's outputs are in its last one)."""


class Command:
    """A command line and what goes to its standard input (`None` leaves the terminal there)."""

    __slots__ = ("argv", "stdin")

    def __init__(self, argv: list[str], stdin: bytes | None) -> None:
        self.argv = argv
        self.stdin = stdin


def command(
    workflow: Workflow,
    inputs: Mapping[str, Any] | None,
    sandbox: bool | str,
    trace: bool,
    notify: str | Sequence[str] | None,
    *,
    detach: bool = False,
) -> Command:
    """The command that runs `workflow`."""
    if os.environ.get("WFLO_URL"):
        raise RunNotStarted(
            "WFLO_URL is set, and this release cannot submit to a server yet",
            code="WFLO-8502",
            hint="unset WFLO_URL to run with the installed wflo binary",
        )
    from .sandbox import BACKENDS

    argv = [binary(), "run", target(workflow), "--json"]
    if isinstance(sandbox, str):
        argv += ["--sandbox", arguments.choice("sandbox", sandbox, BACKENDS)]
    elif not arguments.boolean("sandbox", sandbox):
        argv += ["--sandbox", "none"]
    if arguments.boolean("trace", trace):
        argv.append("--trace")
    from .policy import channel_url

    for channel in [notify] if isinstance(notify, str) else notify or []:
        argv += ["--notify", channel_url("notify", channel)]
    if detach:
        argv.append("--detach")
    stdin = None
    given: object = inputs
    if given is not None:
        from . import values

        if not isinstance(given, dict):
            given = dict(inputs or {})
        stdin = values.encode(values.plain(given, "inputs"))  # pyright: ignore[reportUnknownArgumentType]
        argv += ["--input-file", "-"]
    return Command(argv, stdin)


def binary() -> str:
    """The `wflo` binary: `WFLO_BIN`, else beside this interpreter, else on the PATH."""
    named = os.environ.get("WFLO_BIN")
    if named:
        if os.access(named, os.X_OK):
            return named
        raise RunNotStarted(
            f"WFLO_BIN is {named}, which is not a program", code="WFLO-8501", hint="point it at the wflo binary"
        )
    name = "wflo.exe" if os.name == "nt" else "wflo"
    folders = [os.path.dirname(sys.executable), *os.environ.get("PATH", "").split(os.pathsep)]
    for folder in folders:
        path = os.path.join(folder, name)
        if folder and os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    raise RunNotStarted(
        "the wflo binary is not installed beside this Python, nor on the PATH",
        code="WFLO-8501",
        hint=f"run `{sys.executable} -m pip install wflo-ai`, or set WFLO_BIN to the binary",
    )


def target(workflow: Workflow) -> str:
    """What to give to `wflo run` so that it finds this workflow: `file[:attribute]`.

    The workflow is built again, by importing its file in the sandbox; an object that exists only
    in memory cannot get there.
    """
    filename, names = workflow.origin
    if not filename or filename.startswith("<") or not os.path.isfile(filename) or "ipykernel" in filename:
        raise DefinitionError(
            "this workflow was defined in a notebook or at a prompt, so its steps cannot be loaded in the sandbox",
            code="WFLO-1508",
            hint="write the workflow into a file, such as workflow.py, and run that",
            place=calling_place(),
        )
    attributes = [name for name, value in names.items() if value is workflow]
    others = [value for value in names.values() if type(value) is type(workflow) and value is not workflow]
    spec = names.get("__spec__")
    if spec is not None and attributes and getattr(spec, "name", None) and not filename.endswith("__main__.py"):
        return f"{spec.name}:{attributes[0]}"
    path = os.path.relpath(filename)
    path = filename if path.startswith("..") else path
    return f"{path}:{attributes[0]}" if attributes and others else path


class _Outcome:
    """What the events of a run came to."""

    __slots__ = ("on_event", "run", "run_id")

    def __init__(self, on_event: OnEvent | None) -> None:
        self.on_event = on_event
        self.run: dict[str, Any] | None = None
        self.run_id: str | None = None

    def line(self, line: bytes) -> None:
        from . import values

        if not line.strip():
            return
        try:
            event = values.decode(line.strip())
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        found: dict[str, Any] = event  # pyright: ignore[reportUnknownVariableType]
        if found.get("type") == "run.finished":
            self.run = found.get("run")
        self.run_id = found.get("run_id") or found.get("id") or self.run_id
        if self.on_event is not None:
            self.on_event(found)

    def result(self, exit_code: int) -> RunResult:
        if self.run is None:
            raise self.nothing(exit_code)
        return completed(self.run)

    def nothing(self, exit_code: int) -> RunNotStarted:
        if exit_code == 2:
            return RunNotStarted(
                "wflo refused the workflow or its options (its message is on standard error)", exit_code=2
            )
        if self.run_id is not None:
            return RunNotStarted(
                f"wflo ended with exit code {exit_code} before run {self.run_id} did",
                hint=f"run `wflo runs resume {self.run_id}`",
                exit_code=exit_code,
            )
        return RunNotStarted(f"wflo ended with exit code {exit_code} and no run", exit_code=exit_code)


async def run(command: Command, on_event: OnEvent | None) -> RunResult:
    """Runs the command on the running event loop. Cancelling it interrupts the child and waits."""
    import asyncio
    import signal

    process = await asyncio.create_subprocess_exec(
        *command.argv,
        stdin=None if command.stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_LIMIT,
    )
    outcome = _Outcome(on_event)

    async def feed() -> None:
        if process.stdin is None or command.stdin is None:
            return
        try:
            process.stdin.write(command.stdin)
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass  # The child refused before it read; its exit code says so.
        finally:
            process.stdin.close()

    feeding = asyncio.ensure_future(feed())
    try:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            outcome.line(line)
        code = await process.wait()
        await feeding
    except BaseException:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await asyncio.shield(process.wait())
        feeding.cancel()
        raise
    return outcome.result(code)


def run_sync(command: Command, on_event: OnEvent | None) -> RunResult:
    """Runs the command and blocks. An interrupt (Ctrl-C) reaches the child too; its end is awaited."""
    import subprocess
    import threading

    process = subprocess.Popen(
        command.argv, stdin=None if command.stdin is None else subprocess.PIPE, stdout=subprocess.PIPE
    )
    outcome = _Outcome(on_event)

    def feed() -> None:
        if process.stdin is None or command.stdin is None:
            return
        try:
            process.stdin.write(command.stdin)
            process.stdin.close()
        except OSError:
            pass  # As above.

    feeding = threading.Thread(target=feed, daemon=True)
    feeding.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            outcome.line(line)
        code = process.wait()
    except BaseException:
        import signal

        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait()
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
    feeding.join()
    return outcome.result(code)


def submit(command: Command) -> str:
    """Runs the command, which detaches, and returns the id of the run."""
    import subprocess

    process = (
        subprocess.run(command.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
        if command.stdin is None
        else subprocess.run(command.argv, input=command.stdin, stdout=subprocess.PIPE, check=False)
    )
    outcome = _Outcome(None)
    for line in process.stdout.splitlines():
        outcome.line(line)
    if process.returncode != 0 or outcome.run_id is None:
        raise outcome.nothing(process.returncode)
    return outcome.run_id

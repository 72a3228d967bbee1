"""Starting runs from a user's script: the installed `wflo` binary as a child process.

Owns finding the binary, its command line, and reading its events. The child embeds the engine:
progress and questions go to the terminal through its standard error, events come as one JSON
object a line on its standard output, the last one being `run.finished`, or `error` when there is
no run. It is handed the workflow as this process has it: what the steps, which import the file
afresh, would not see is refused.
"""

from __future__ import annotations

import os
import sys

from . import arguments, errors
from .errors import DefinitionError, RunNotStarted
from .origin import calling_place
from .result import RunResult, completed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .workflow import Workflow

    OnEvent = Callable[[dict[str, Any]], object]

_LINE_LIMIT = 256 * 1024 * 1024
"""The longest event line read, in bytes (a run's outputs are in its last one)."""

SETTINGS = "wflo.toml"


class Command:
    """A command line and what goes to its standard input."""

    __slots__ = ("argv", "stdin")

    def __init__(self, argv: list[str], stdin: bytes) -> None:
        self.argv = argv
        self.stdin = stdin


def command(
    workflow: Workflow,
    inputs: Mapping[str, Any] | None,
    sandbox: bool | str,
    trace: bool,
    notify: str | Sequence[str] | None,
    project: str | os.PathLike[str] | None,
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
    from . import values
    from .sandbox import BACKENDS

    argv = [binary(), "run", *target(workflow, project), "--json", "--from-sdk"]
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
    handed = {
        "definition": values.plain(workflow.definition(), "definition"),
        "inputs": values.plain(arguments.mapping("inputs", inputs), "inputs"),
    }
    return Command(argv, values.encode(handed))


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
        hint=f"run `{sys.executable} -m pip install path/to/wheel`, or set WFLO_BIN to the binary",
    )


def target(workflow: Workflow, project: str | os.PathLike[str] | None = None) -> list[str]:
    """What to give to `wflo run` so that it finds this workflow and its project, from any folder.

    The workflow is built again, by importing its file in the sandbox; an object that exists only
    in memory cannot get there. A module of a package is imported by its name, from the folder that
    holds the package; anything else is a file.
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
    given: list[str] = [] if project is None else ["--project", os.path.abspath(os.fspath(project))]
    name = getattr(names.get("__spec__"), "name", None) or ""
    if "." in name and attributes and not filename.endswith("__main__.py"):
        return [f"{name}:{attributes[0]}", *(given or ["--project", _project_of(os.path.abspath(filename), name)])]
    path = os.path.relpath(filename)
    path = filename if path.startswith("..") else path
    return [f"{path}:{attributes[0]}" if attributes and others else path, *given]


def _project_of(filename: str, module: str) -> str:
    """The project of a module: the nearest folder upwards with a `wflo.toml`, else its package's folder."""
    folder = os.path.dirname(filename)
    is_package = os.path.basename(filename).startswith("__init__.")
    root = folder
    for _ in range(module.count(".") + is_package):
        root = os.path.dirname(root)
    while not os.path.isfile(os.path.join(folder, SETTINGS)):
        if folder == os.path.dirname(folder):
            return root
        folder = os.path.dirname(folder)
    return folder


class _Outcome:
    """What the events of a run came to."""

    __slots__ = ("failures", "on_event", "run", "run_id")

    def __init__(self, on_event: OnEvent | None) -> None:
        self.on_event = on_event
        self.run: dict[str, Any] | None = None
        self.run_id: str | None = None
        self.failures: list[dict[str, Any]] = []

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
        if "type" not in found and isinstance(found.get("error"), dict):
            self.failures.append(found["error"])
            return
        if found.get("type") == "run.finished":
            self.run = found.get("run")
        self.run_id = found.get("run_id") or found.get("id") or self.run_id
        if self.on_event is not None:
            self.on_event(found)

    def tell(self, error: BaseException) -> None:
        """Says on an exception that stopped the run how to go on with it."""
        if self.run is not None and self.run.get("finished_at") is not None:
            return
        add_note = getattr(error, "add_note", None)
        if self.run_id is not None and add_note is not None:
            add_note(f"run {self.run_id} was stopped; `wflo runs resume {self.run_id}` goes on with it")

    def result(self, exit_code: int) -> RunResult:
        if self.run is None:
            raise self.nothing(exit_code)
        return completed(self.run)

    def nothing(self, exit_code: int) -> RunNotStarted:
        if self.failures:
            return errors.refused(self.failures, exit_code)
        if exit_code == 2:
            return RunNotStarted(
                "wflo refused its options (its message is on standard error)",
                hint="install the wflo-ai that belongs to this wflo",
                exit_code=2,
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
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_LIMIT,
    )
    outcome = _Outcome(on_event)

    async def feed() -> None:
        assert process.stdin is not None
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
    except BaseException as error:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        feeding.cancel()
        await asyncio.shield(_ended(process, outcome))
        outcome.tell(error)
        raise
    return outcome.result(code)


async def _ended(process: asyncio.subprocess.Process, outcome: _Outcome) -> None:
    """Waits for a child that was asked to stop. What it still says is read, or it would wait for that."""
    outcome.on_event = None
    assert process.stdout is not None
    while line := await process.stdout.readline():
        outcome.line(line)
    await process.wait()


def run_sync(command: Command, on_event: OnEvent | None) -> RunResult:
    """Runs the command and blocks. An interrupt (Ctrl-C) reaches the child too; its end is awaited."""
    import subprocess
    import threading

    process = subprocess.Popen(command.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    outcome = _Outcome(on_event)

    def feed() -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(command.stdin)
            process.stdin.close()
        except OSError:
            pass  # As above.

    feeding = threading.Thread(target=feed, daemon=True)
    feeding.start()
    assert process.stdout is not None
    with process.stdout:
        try:
            for line in process.stdout:
                outcome.line(line)
            code = process.wait()
        except BaseException as error:
            import signal

            # Ctrl-C has reached the child by itself, and a second signal would not let its calls finish.
            if process.poll() is None and not (isinstance(error, KeyboardInterrupt) and _on_terminal()):
                process.send_signal(signal.SIGINT)
            outcome.on_event = None
            for line in process.stdout:
                outcome.line(line)
            process.wait()
            outcome.tell(error)
            raise
    feeding.join()
    return outcome.result(code)


def _on_terminal() -> bool:
    """Whether this process and its children are what a terminal's Ctrl-C interrupts."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def submit(command: Command) -> str:
    """Runs the command, which detaches, and returns the id of the run."""
    import subprocess

    process = subprocess.run(command.argv, input=command.stdin, stdout=subprocess.PIPE, check=False)
    outcome = _Outcome(None)
    for line in process.stdout.splitlines():
        outcome.line(line)
    if process.returncode != 0 or outcome.run_id is None:
        raise outcome.nothing(process.returncode)
    return outcome.run_id

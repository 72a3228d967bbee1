"""Commands that are journaled: `context.tools`.

Owns running one command around its journal entry: the engine says whether to run it, the command
runs here in the sandbox, and its result and files are durable before step code sees them. A
command started with `subprocess` is computation instead: it runs again on resume.
"""

from __future__ import annotations

import os

from .. import values
from ..errors import EffectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .calls import AsyncCalls, SyncCalls

MOST_OUTPUT = 2 * 1024 * 1024
"""How much of each output is kept, in bytes; the rest is dropped and `truncated` says so."""


class ToolResult:
    """What a command did. Output is text; bytes that are not UTF-8 are replaced."""

    __slots__ = ("exit_code", "stderr", "stdout", "truncated")

    def __init__(self, answer: dict[str, Any] | None) -> None:
        answer = answer or {}
        self.exit_code: int = int(answer.get("exit_code") or 0)
        self.stdout: str = answer.get("stdout") or ""
        self.stderr: str = answer.get("stderr") or ""
        self.truncated: bool = bool(answer.get("truncated"))

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data: what it becomes as a step's output."""
        return {"exit_code": self.exit_code, "stdout": self.stdout, "stderr": self.stderr}

    def __repr__(self) -> str:
        return f"ToolResult(exit_code={self.exit_code})"


class ToolFailed(EffectError):
    """A command ended with another exit code than 0. `result` is all of it."""

    def __init__(self, argv: list[str], result: ToolResult, effect: tuple[str, int]) -> None:
        last = result.stderr.strip().splitlines()[-1:] or result.stdout.strip().splitlines()[-1:]
        super().__init__(
            f"{argv[0]} ended with exit code {result.exit_code}" + (f": {last[0][:300]}" if last else ""),
            code="WFLO-3309",
            hint="give check=False to get the result instead of this error",
            kind="tool_failed",
            effect=effect,
        )
        self.result = result


def request(argv: object, cwd: object, env: Mapping[str, str] | None, stdin: str | None) -> dict[str, Any]:
    """The request in wire form."""
    if isinstance(argv, str):
        import shlex

        argv = shlex.split(argv)
    if not isinstance(argv, (list, tuple)) or not argv:
        raise TypeError('a command is a list, such as ["python", "report.py"]')
    wire: dict[str, Any] = {
        "argv": [os.fspath(word) for word in argv],  # type: ignore
        "cwd": None if cwd is None else os.fspath(cwd),  # type: ignore
        "env": dict(env or {}),
        "stdin": stdin,
    }
    return values.plain(wire, "tools")


def _kept(data: bytes) -> tuple[str, bool]:
    return data[:MOST_OUTPUT].decode("utf-8", "replace"), len(data) > MOST_OUTPUT


def _report(code: int, out: bytes, err: bytes) -> dict[str, Any]:
    (stdout, more_out), (stderr, more_err) = _kept(out), _kept(err)
    report: dict[str, Any] = {"exit_code": code, "stdout": stdout, "stderr": stderr}
    if more_out or more_err:
        report["truncated"] = True
    return report


def _missing(error: OSError) -> dict[str, Any]:
    """What a shell reports for a command that cannot be started."""
    code = 127 if isinstance(error, FileNotFoundError) else 126
    return _report(code, b"", str(error).encode())


def execute(wire: dict[str, Any]) -> dict[str, Any]:
    """Runs the command and returns its report. Blocks."""
    import subprocess

    feed = None if wire["stdin"] is None else wire["stdin"].encode()
    try:
        process = subprocess.Popen(
            wire["argv"],
            cwd=wire["cwd"],
            env={**os.environ, **wire["env"]},
            stdin=subprocess.DEVNULL if feed is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        return _missing(error)
    with process:
        try:
            out, err = process.communicate(feed)
        except BaseException:
            process.kill()
            raise
    return _report(process.returncode, out, err)


async def execute_async(wire: dict[str, Any]) -> dict[str, Any]:
    """Runs the command on the running event loop and returns its report."""
    import asyncio
    import subprocess

    feed = None if wire["stdin"] is None else wire["stdin"].encode()
    try:
        process = await asyncio.create_subprocess_exec(
            *wire["argv"],
            cwd=wire["cwd"],
            env={**os.environ, **wire["env"]},
            stdin=subprocess.DEVNULL if feed is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        return _missing(error)
    try:
        out, err = await process.communicate(feed)
    except BaseException:
        if process.returncode is None:
            process.kill()
        raise
    return _report(process.returncode or 0, out, err)


def _to_run(answer: Any) -> bool:
    return isinstance(answer, dict) and answer.get("execute") is True  # type: ignore


def _to_restore(answer: Any) -> bool:
    return isinstance(answer, dict) and answer.get("restore") is True  # type: ignore


class Tools:
    """`context.tools` of an async step."""

    __slots__ = ("_calls",)

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    async def run(
        self,
        argv: Sequence[str] | str,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        check: bool = True,
    ) -> ToolResult:
        """Runs a command in the sandbox, once: on resume its recorded result and files come back.

        `env` adds to the step's environment. Raises `ToolFailed` for an exit code other than 0,
        unless `check=False`.
        """
        wire = request(argv, cwd, env, stdin)
        calls = self._calls
        waiter = calls.ask("tool", "run", wire)
        await calls.answer(waiter)
        answer = waiter.result()
        if _to_run(answer):
            try:
                report = await execute_async(wire)
            except BaseException:
                calls.broker.give_up(waiter)
                raise
            calls.broker.done(waiter, report)
            await calls.answer(waiter)
            answer = waiter.result()
        elif _to_restore(answer):
            calls.broker.put_back(waiter)
            answer = waiter.result()
        return _checked(wire["argv"], ToolResult(answer), waiter.key, check)


class SyncTools:
    """`context.tools` of a sync step."""

    __slots__ = ("_calls",)

    def __init__(self, calls: SyncCalls) -> None:
        self._calls = calls

    def run(
        self,
        argv: Sequence[str] | str,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        check: bool = True,
    ) -> ToolResult:
        """As `Tools.run`."""
        wire = request(argv, cwd, env, stdin)
        calls = self._calls
        waiter = calls.ask("tool", "run", wire)
        calls.answer(waiter)
        answer = waiter.result()
        if _to_run(answer):
            try:
                report = execute(wire)
            except BaseException:
                calls.broker.give_up(waiter)
                raise
            calls.broker.done(waiter, report)
            calls.answer(waiter)
            answer = waiter.result()
        elif _to_restore(answer):
            calls.broker.put_back(waiter)
            answer = waiter.result()
        return _checked(wire["argv"], ToolResult(answer), waiter.key, check)


def _checked(argv: list[str], result: ToolResult, effect: tuple[str, int], check: bool) -> ToolResult:
    if check and result.exit_code != 0:
        raise ToolFailed(argv, result, effect)
    return result

"""A kernel for Python: it runs cells, one after the other, in one namespace, and says what came of each.

Standard library only. It runs inside a sandbox and talks, in lines of JSON, to the agent beside it; what cells
print goes out by the usual standard output. It is no part of what keeps a sandbox shut: the code that it runs
may do to it what it likes.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import builtins
import importlib.util
import inspect
import json
import linecache
import os
import signal
import subprocess
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

import wflo_charts  # pyright: ignore[reportMissingImports]

# The longest line that is sent, in characters: what is larger is named instead.
MOST = 6 << 20

# How a result's forms are called by E2B, the method that makes each, and its media type.
FORMS = {
    "html": ("_repr_html_", "text/html"),
    "markdown": ("_repr_markdown_", "text/markdown"),
    "svg": ("_repr_svg_", "image/svg+xml"),
    "png": ("_repr_png_", "image/png"),
    "jpeg": ("_repr_jpeg_", "image/jpeg"),
    "pdf": ("_repr_pdf_", "application/pdf"),
    "latex": ("_repr_latex_", "text/latex"),
    "json": ("_repr_json_", "application/json"),
    "javascript": ("_repr_javascript_", "application/javascript"),
}


class Kernel:
    """One namespace, and the channel to whoever asks for cells to be run."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self.send = send
        self.count = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.main = types.ModuleType("__main__")
        self.main.__dict__.update(__builtins__=builtins, display=self.display)
        sys.modules["__main__"] = self.main

    def run(self, code: str, env: dict[str, str]) -> None:
        """Runs one cell and sends all that came of it but what it printed."""
        self.count += 1
        before = {name: os.environ.get(name) for name in env}
        os.environ.update(env)
        try:
            value = self.value_of(code, f"<cell {self.count}>")
            self.figures()
            if value is not None:
                self.main.__dict__["_"] = value
                self.show(value, is_main=True)
        except BaseException as error:  # a cell may raise what it likes, and the kernel goes on
            self.fail(error)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
        self.send({"type": "number_of_executions", "execution_count": self.count})

    def value_of(self, code: str, name: str) -> Any:
        """What the last expression of a cell is; `None` where it ends in something else, or in `;`."""
        tree, code = parsed(code, name)
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        self.evaluate(tree, name, "exec")
        if last is None:
            return None
        value = self.evaluate(ast.Expression(last.value), name, "eval")
        return None if code.rstrip().endswith(";") else value

    def evaluate(self, tree: ast.Module | ast.Expression, name: str, mode: str) -> Any:
        cell = compile(tree, name, mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        value = eval(cell, self.main.__dict__)
        if cell.co_flags & inspect.CO_COROUTINE:
            self.loop = self.loop or asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
            return self.loop.run_until_complete(value)
        return value

    def display(self, *values: Any, **_: Any) -> None:
        """Shows values at once, as results that are not the cell's own."""
        for value in values:
            self.show(value)

    def show(self, value: Any, is_main: bool = False) -> None:
        if is_figure(value):
            # A figure that a cell ends with was shown already.
            if not is_main:
                self.figure(value)
            return
        forms = forms_of(value)
        self.result({**forms, "is_main_result": is_main})

    def result(self, forms: dict[str, Any]) -> None:
        line = {"type": "result", **forms}
        size = len(json.dumps(line, default=repr))
        if size > MOST:
            said = f"<a result of {size} characters, more than the {MOST} that are sent>"
            line = {"type": "result", "text": said, "is_main_result": forms.get("is_main_result", False)}
        self.send(line)

    def figures(self) -> None:
        """Shows what Matplotlib has drawn, and closes it."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            self.figure(pyplot.figure(number))
        pyplot.close("all")

    def figure(self, figure: Any) -> None:
        forms = {"text": repr(figure), "png": wflo_charts.png(figure), "is_main_result": False}
        chart = wflo_charts.chart(figure)
        self.result({**forms, "chart": chart} if chart else forms)

    def fail(self, error: BaseException) -> None:
        trace = error.__traceback__
        # The frames of the kernel itself say nothing to whoever wrote the cell.
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith("<wflo_"):
            trace = trace.tb_next
        text = "".join(traceback.format_exception(type(error), error, trace))
        self.send(
            {
                "type": "error",
                "name": type(error).__name__,
                "value": str(error)[: MOST // 4],
                "traceback": text[-MOST // 4 :],
            }
        )


def parsed(code: str, name: str) -> tuple[ast.Module, str]:
    """A cell's tree; where it is no Python, lines that begin with `!` or `%` are taken for commands."""
    try:
        return ast.parse(code, name), code
    except SyntaxError:
        changed = "".join(commands(code))
        if changed == code:
            raise
        return ast.parse(changed, name), changed


def commands(code: str) -> Iterator[str]:
    for line in code.splitlines(keepends=True):
        bare = line.lstrip()
        indent, end = line[: len(line) - len(bare)], line[len(line.rstrip("\r\n")) :]
        if bare.startswith("!"):
            yield f"{indent}__import__('wflo_kernel').shell({bare[1:].strip()!r}){end}"
        elif bare.startswith("%pip "):
            yield f"{indent}__import__('wflo_kernel').shell({'python3 -m ' + bare[1:].strip()!r}){end}"
        elif bare.startswith("%matplotlib"):
            yield f"{indent}None{end}"
        else:
            yield line


def shell(command: str) -> None:
    """Runs a command of a shell; its output is the cell's."""
    sys.stdout.flush()
    subprocess.run(command, shell=True, check=False)


def is_figure(value: Any) -> bool:
    figures = sys.modules.get("matplotlib.figure")
    return figures is not None and isinstance(value, figures.Figure)


def forms_of(value: Any) -> dict[str, Any]:
    """A value in every form that it has."""
    forms: dict[str, Any] = {"text": repr(value)}
    offered = bundle(value)
    for form, (method, media) in FORMS.items():
        made = offered.pop(media, None)
        if made is None:
            made = called(value, method)
        if isinstance(made, (bytes, bytearray)):
            made = base64.b64encode(made).decode()
        if made is not None:
            forms[form] = made
    if isinstance(value, (dict, list)) and "json" not in forms:
        try:
            forms["json"] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            pass
    offered.pop("text/plain", None)
    if offered:
        forms["extra"] = offered
    frames = sys.modules.get("pandas")
    if frames is not None and isinstance(value, getattr(frames, "DataFrame", ())):
        forms["data"] = json.loads(value.to_json(orient="split", date_format="iso"))
    return forms


def bundle(value: Any) -> dict[str, Any]:
    made = called(value, "_repr_mimebundle_")
    made = made[0] if isinstance(made, tuple) else made
    return dict(made) if isinstance(made, dict) else {}


def called(value: Any, method: str) -> Any:
    """What a method of a value's type makes of it; of a class itself nothing is asked."""
    found = None if isinstance(value, type) else getattr(type(value), method, None)
    if found is None:
        return None
    try:
        made = found(value)
    except Exception:
        return None
    return made[0] if isinstance(made, tuple) and method != "_repr_mimebundle_" else made


def stand_in_for_ipython(kernel: Kernel) -> None:
    """`from IPython.display import …` works where IPython is not installed."""
    if importlib.util.find_spec("IPython") is not None:
        return
    package, module = types.ModuleType("IPython"), types.ModuleType("IPython.display")

    def shown_as(name: str, method: str) -> type:
        def made(self: Any, data: Any = None) -> None:
            self.data = data

        return type(name, (), {"__init__": made, method: lambda self: self.data})

    names = {
        "HTML": "html",
        "Markdown": "markdown",
        "SVG": "svg",
        "Latex": "latex",
        "JSON": "json",
        "Javascript": "javascript",
    }
    members = {name: shown_as(name, FORMS[form][0]) for name, form in names.items()}
    module.__dict__.update(members, display=kernel.display, clear_output=lambda wait=False: None)
    package.__dict__.update(
        display=module, get_ipython=lambda: None, __path__=[], __version__="9.0.0", version_info=(9, 0, 0)
    )
    sys.modules.update({"IPython": package, "IPython.display": module})


def serve(link: Any, lines: Any) -> None:
    """Runs what arrives until nothing does any more."""
    # Whole lines at once, and what is left at the end of each cell.
    sys.stdout.reconfigure(line_buffering=True, write_through=False, errors="replace")  # type: ignore[union-attr]
    sys.stderr.reconfigure(errors="replace")  # type: ignore[union-attr]

    def send(line: dict[str, Any]) -> None:
        link.sendall(json.dumps(line, default=repr).encode() + b"\n")

    kernel = Kernel(send)
    stand_in_for_ipython(kernel)
    wflo_charts.draw_for(kernel)
    sys.path.insert(0, "")
    # Between cells an interrupt has nothing to interrupt.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    send({"type": "ready"})
    for line in lines:
        cell = json.loads(line)
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                kernel.run(cell["code"], cell.get("env") or {})
            finally:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
        except KeyboardInterrupt as error:
            kernel.fail(error)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
        send({"type": "end_of_execution"})

"""Loading the user's workflow from its file or module.

Owns the import: top-level `await` is allowed, a script works with and without a `__main__` guard,
and an import that reaches `workflow.run()` ends there. It also lists the project's files that
were imported, from which the engine makes the code digest.
"""

from __future__ import annotations

import os
import sys

from .. import session
from ..errors import DefinitionError
from ..origin import is_ours, short
from . import branches, finish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import CodeType, ModuleType
    from typing import Any

    from ..workflow import Workflow

_ALLOW_TOP_LEVEL_AWAIT = 0x2000  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_ONLY_AST = 0x400  # ast.PyCF_ONLY_AST
_CO_COROUTINE = 0x80

_LARGEST = 1 << 20
"""A file of more bytes is not compiled ahead."""

_compiled: tuple[str, bytes, CodeType] | None = None
"""What was compiled ahead: where it stood, its text and its code."""


def load(project: str, target: str) -> Workflow:
    """The workflow that `target` names: `file.py`, `file.py:name`, `package.module[:name]`.

    Raises `DefinitionError` when there is not exactly one, and whatever the user's code raises.
    """
    place, _, attribute = target.partition(":")
    tidy_path(project)
    session.mode = "loading"
    session.created.clear()
    session.reached = None
    finish.set_apart()
    try:
        if place.endswith(".py") or "/" in place or os.path.isfile(os.path.join(project, place)):
            module = _load_file(os.path.join(project, place), place)
        else:
            module = _load_module(project, place)
    finally:
        session.mode = "script"
    return _choose(module, attribute, place)


def compile_ahead(project: str, target: str) -> None:
    """Compiles the file that `target` names, for a `load` that finds the same text in it. Nothing of it runs.

    What is not to be compiled in silence is left to `load`, which says so.
    """
    global _compiled
    path = os.path.abspath(os.path.join(project, target.partition(":")[0]))
    try:
        with open(path, "rb") as file:
            source = file.read(_LARGEST + 1)
        if len(source) > _LARGEST:
            return
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _compiled = (path, source, _code(source, path))
    except Exception:
        return


def _code(source: bytes, path: str) -> CodeType:
    if _compiled is not None and _compiled[:2] == (path, source):
        return _compiled[2]
    return compile(source, path, "exec", _ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def tidy_path(project: str) -> None:
    """Undoes what starting the runner put on `sys.path`, so that it is as the user's Python has it."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if path not in ("", ".", here)]
    if not sys.pycache_prefix:
        # Compiled files would show up as changes of the workspace.
        sys.dont_write_bytecode = True
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    try:
        if os.getcwd() != project:
            os.chdir(project)
    except OSError as error:
        raise DefinitionError(
            f"the project folder {project} cannot be entered: {error.strerror}", code="WFLO-1506"
        ) from None


def _first_on_path(folder: str) -> None:
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)


def _load_file(path: str, shown: str) -> ModuleType:
    path = os.path.abspath(path)
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise DefinitionError(
            f"the workflow file {shown} cannot be read: {error.strerror}",
            code="WFLO-1506",
            hint="give the path of a Python file, or set [project] workflow in wflo.toml",
        ) from None
    _first_on_path(os.path.dirname(path))
    sys.argv[:] = [path]
    stem = os.path.splitext(os.path.basename(path))[0]
    name = stem if stem.isidentifier() and stem not in sys.modules else "__wflo_main__"
    code = _code(source, path)
    module = _execute(code, source, name, path)
    if session.reached is None and not session.created and b"__main__" in source:
        # The workflow is made below the guard: run the file as a script then.
        module = _execute(code, source, "__main__", path)
    return module


def _execute(code: Any, source: bytes, name: str, path: str) -> ModuleType:
    module = type(sys)(name)
    module.__file__ = path
    module.__dict__["__builtins__"] = __builtins__
    sys.modules[name] = module
    try:
        if code.co_flags & _CO_COROUTINE:
            _drive(eval(code, module.__dict__), source, path)
        else:
            exec(code, module.__dict__)
    except session.RunReached:
        pass
    except SystemExit as error:
        if session.reached is None and not session.created:
            raise _exited(path, error) from None
    return module


def _load_module(project: str, name: str) -> ModuleType:
    _first_on_path(project)
    sys.argv[:] = [name]
    import importlib

    try:
        module = importlib.import_module(name)
    except session.RunReached:
        # The import machinery has removed the module; what it made is known from the session.
        module = type(sys)(name)
        if session.reached is not None:
            module.__dict__.update(session.reached.origin[1])
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise DefinitionError(
                f"there is no module {name} (looked for {error.name})",
                code="WFLO-1506",
                hint="give a file such as workflow.py, or a module that the project can import",
            ) from None
        raise
    except SystemExit as error:
        raise _exited(name, error) from None
    file = getattr(module, "__file__", None)
    if file and not branches.is_project(file):
        # An installed package is the user's own code when it holds the workflow.
        branches.project_root = os.path.dirname(os.path.abspath(file)) + os.sep
        branches.forget()
    return module


def _exited(place: str, error: SystemExit) -> DefinitionError:
    return DefinitionError(
        f"{short(place, None)} called sys.exit({error.code!r}) while it was imported, before it made a workflow",
        code="WFLO-1506",
        hint='put what is not the workflow under `if __name__ == "__main__":`',
    )


def _drive(body: Coroutine[Any, Any, Any], source: bytes, path: str) -> None:
    """Runs a module body that awaits: without an event loop when all it awaits is `….run(…)`."""
    if _needs_loop(source, path):
        import asyncio

        asyncio.run(body)
        return
    try:
        body.send(None)
    except StopIteration:
        return
    body.close()
    raise DefinitionError(f"{short(path, None)} awaits something that only a running step can give", code="WFLO-1506")


def _needs_loop(source: bytes, path: str) -> bool:
    """Whether anything but a call of a method named `run` is awaited at the top level.

    `workflow.run()` ends the import when it is called, before it is awaited; an event loop for it
    alone would cost the import of asyncio at each start of a step.
    """
    tree: Any = compile(source, path, "exec", _ONLY_AST | _ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        kind = type(node).__name__
        if kind in ("FunctionDef", "AsyncFunctionDef", "Lambda", "ClassDef"):
            continue
        if kind in ("AsyncFor", "AsyncWith") or (kind == "comprehension" and node.is_async):
            return True
        if kind == "Await":
            call = node.value
            if type(call).__name__ != "Call" or getattr(call.func, "attr", None) != "run":
                return True
            if getattr(getattr(call.func, "value", None), "id", None) == "asyncio":
                return True
        for field in node._fields:
            value = getattr(node, field, None)
            if hasattr(value, "_fields"):
                waiting.append(value)
            elif isinstance(value, list):
                items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
                waiting.extend(item for item in items if hasattr(item, "_fields"))
    return False


def _choose(module: ModuleType, attribute: str, place: str) -> Workflow:
    from ..workflow import Workflow

    if attribute:
        found: Any = module
        for part in attribute.split("."):
            found = getattr(found, part, None)
        if isinstance(found, Workflow):
            return found
        names = _named(module)
        have = f"it has {', '.join(names)}" if names else "it has none"
        is_what = "is not defined" if found is None else f"is a {type(found).__name__}, not a Workflow"
        raise DefinitionError(f"{attribute} in {place} {is_what}", code="WFLO-1506", hint=f"workflows: {have}")
    if session.reached is not None:
        return session.reached
    names = _named(module)
    if len({id(workflow) for workflow in names.values()}) == 1:
        return next(iter(names.values()))
    if len(names) > 1:
        raise DefinitionError(
            f"{place} has several workflows: {', '.join(names)}",
            code="WFLO-1505",
            hint=f"name one: `wflo run {place}:{next(iter(names))}`",
        )
    if len(session.created) == 1:
        return session.created[0]
    raise DefinitionError(
        f"{place} has no workflow",
        code="WFLO-1504",
        hint='write `workflow = Workflow("a-name")` at the top level of the file; '
        f"a program that is no workflow runs as it is: `wflo run -- python {place}`",
    )


def _named(module: ModuleType) -> dict[str, Workflow]:
    from ..workflow import Workflow

    return {name: value for name, value in vars(module).items() if isinstance(value, Workflow)}


def imported_files(project: str) -> list[str]:
    """The project's files that have been imported, relative to the project, in order of name."""
    root = os.path.abspath(project) + os.sep
    found: set[str] = set()
    for module in list(sys.modules.values()):
        try:
            file = module.__file__
        except Exception:
            continue
        if not isinstance(file, str):
            continue
        path = os.path.abspath(file)
        if path.startswith(root) and branches.is_project(path) and not is_ours(path):
            found.add(path[len(root) :])
    return sorted(found)

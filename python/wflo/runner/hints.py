"""What an exception of step code has to do with the sandbox, in one line.

Owns the hints for errors that look like something else from inside: no network looks like broken
DNS, a full disk like the machine's, a hidden file like a missing one, another interpreter like a
package that is not installed. A hint is given only where it is true whatever the cause was: without
isolation a step has the network and all of the host's files, and only its environment and its copy
of the project are wflo's doing.
Imported only once something has failed.
"""

from __future__ import annotations

import errno
import os
import sys

from .. import session
from ..errors import WfloError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNREACHABLE = {
    errno.ECONNREFUSED,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
    errno.ETIMEDOUT,
}

NETWORK = (
    "steps have no network, this machine's own servers included: models go through `context.llm` or a stock openai "
    "or anthropic client, databases through `context.db`; other hosts are named in `allow_hosts` or by --allow-host"
)
READ_ONLY = (
    "a step writes below `context.workspace` (kept, see `wflo diff`) and in /tmp (not kept); everything else is "
    "read-only"
)
NO_SPACE = (
    "a step may write so much and no more, /tmp counted: raise `disk_limit` under [sandbox], or `inodes_limit` for "
    "many small files"
)
DATABASE = (
    "a step works on a copy of the project, without the databases of wflo.toml: use `context.db`, which also makes "
    "changes that can be approved and undone"
)
ENVIRONMENT = (
    'a step does not see your environment: name the variable in `env = ["…"]` under [sandbox] in wflo.toml; '
    "keys of model providers stay outside and are not needed"
)
AWAIT = "an `await` is missing: in an `async def` step what the context gives is awaited"
NO_AWAIT = "leave `await` out: `context.log`, a `context.branch()` and the context of a `def` step are used without it"


def hint_for(error: BaseException, project: str) -> str | None:
    """A hint for an exception, or for what it came from; none when wflo has nothing to add."""
    for found in chain(error):
        hint = _hint(found, project)
        if hint is not None:
            return hint
    return None


def chain(error: BaseException) -> list[BaseException]:
    """The exception, what it came from, and the members of groups."""
    found: list[BaseException] = []
    left: list[BaseException | None] = [error]
    while left and len(found) < 100:
        this = left.pop(0)
        if this is None or any(this is other for other in found):
            continue
        found.append(this)
        left.append(this.__cause__ if this.__cause__ is not None or this.__suppress_context__ else this.__context__)
        members: Any = getattr(this, "exceptions", None)
        if isinstance(members, tuple):
            left.extend(member for member in members if isinstance(member, BaseException))  # type: ignore
    return found


# What programs say, in English, when there is no network, and the codes of those that say nothing.
_NO_NETWORK = (
    "could not resolve host",
    "name or service not known",
    "temporary failure in name resolution",
    "network is unreachable",
    "getaddrinfo",
    "failed to establish a new connection",
)
_NO_SPACE = ("no space left on device", "disk quota exceeded")
_FETCHERS = {"curl": (6, 7), "wget": (4,)}
NO_PROGRAM = (
    "there is no such program in the sandbox: it has the machine's /usr and the step's Python; a script of the project "
    "is called by its path"
)


def _command(error: WfloError) -> str | None:
    """Why a command of `tools.run` may have failed."""
    result: Any = getattr(error, "result", None)
    if error.code != "WFLO-3309" or result is None or not session.isolated:
        return None
    if result.exit_code == 127:
        return NO_PROGRAM
    name = str(error).split(" ", 1)[0].rsplit("/", 1)[-1]
    said = f"{result.stderr}\n{result.stdout}".lower()
    if result.exit_code in _FETCHERS.get(name, ()) or any(words in said for words in _NO_NETWORK):
        return NETWORK
    if any(words in said for words in _NO_SPACE):
        return NO_SPACE
    return None


def _hint(error: BaseException, project: str) -> str | None:
    if isinstance(error, WfloError):
        return _command(error) or error.hint
    if isinstance(error, ModuleNotFoundError):
        return _module(error, project)
    if isinstance(error, OSError):
        return _system(error, project)
    if isinstance(error, KeyError):
        return ENVIRONMENT if _from_environment(error) else None
    if isinstance(error, (AttributeError, TypeError)):
        return _awaiting(str(error))
    if type(error).__module__ == "sqlite3" and str(error).startswith(("no such table", "unable to open")):
        return DATABASE
    return None


def _system(error: OSError, project: str) -> str | None:
    # A name that is not resolved has numbers of its own, and its class is in a module not always imported.
    if type(error).__name__ == "gaierror" or error.errno in _UNREACHABLE:
        return NETWORK if session.isolated else None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NO_SPACE if session.isolated else None
    if error.errno == errno.EROFS:
        return READ_ONLY if session.isolated else None
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, (str, bytes)):
        return _missing(os.fsdecode(error.filename), project)
    return None


def _missing(given: str, project: str) -> str | None:
    """Only names that are never shown, and places that are never seen."""
    path = os.path.normpath(os.path.join(project, given))
    name = os.path.basename(path).lower()
    is_of_project = path == project or path.startswith(project + os.sep)
    if name.startswith(".env") and (session.isolated or is_of_project):
        return f"steps do not see {os.path.basename(path)}; {ENVIRONMENT}"
    if is_of_project:
        if name.endswith((".db", ".sqlite", ".sqlite3")):
            return DATABASE
        return None
    if not session.isolated:
        return None
    if path.startswith(("/tmp/", "/dev/", "/proc/", "/sys/")) or os.path.dirname(path) == "/":
        return None
    if os.path.isdir(os.path.dirname(path)):
        return None
    return (
        "a step sees the project, its Python and the system's programs, not your other folders: put the file into the "
        'project, or show it with `ro = ["…"]` under [sandbox] in wflo.toml'
    )


def _module(error: ModuleNotFoundError, project: str) -> str | None:
    name = (error.name or "").partition(".")[0]
    if not name or name != error.name or name == "wflo":
        return None
    version = ".".join(map(str, sys.version_info[:2]))
    return (
        f"steps run with {sys.executable} (Python {version}), which does not have it: install it there, or name the "
        "Python that has it and wflo with WFLO_PYTHON"
    )


def _from_environment(error: KeyError) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == "os"


def _awaiting(message: str) -> str | None:
    if "'coroutine' object" in message:
        return AWAIT
    if "'await' expression" in message or "can't be awaited" in message:
        return NO_AWAIT
    return None

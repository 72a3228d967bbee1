"""Identities of effects: the branch they are made on, and their number on it.

Owns the counts. The path of a new branch is its parent's and a number in order of creation, or the
name that the user gave a thread.
"""

from __future__ import annotations

import _thread

from ..errors import StepError


class Identities:
    """The branches of one step and how many effects each has made. Used from any thread."""

    def __init__(self) -> None:
        self._lock = _thread.allocate_lock()
        self._effects: dict[str, int] = {}
        self._children: dict[str, int] = {}
        self._names: set[str] = set()

    def seq(self, path: str) -> int:
        """The number that the next effect on `path` has."""
        return self._effects.get(path, 0)

    def made(self, path: str) -> None:
        """Counts an effect; the caller holds whatever keeps `seq` and this together."""
        self._effects[path] = self._effects.get(path, 0) + 1

    def child(self, parent: str) -> str:
        """The path of the next branch below `parent`, in order of creation."""
        with self._lock:
            number = self._children.get(parent, 0)
            self._children[parent] = number + 1
        return f"{parent}.{number}"

    def named(self, parent: str, name: object) -> str:
        """The path of a thread's branch."""
        if not isinstance(name, str) or not _is_name(name):
            raise StepError(
                f"a branch is named with letters, digits, - and _, and not with digits alone; not {name!r}",
                code="WFLO-3304",
                hint='write context.branch(f"row-{index}")',
            )
        path = f"{parent}.{name}"
        with self._lock:
            if path in self._names:
                raise StepError(
                    f"there is already a branch `{name}` here",
                    code="WFLO-3304",
                    hint="each thread needs a branch of its own, named the same on every run",
                )
            self._names.add(path)
        return path


def _is_name(name: str) -> bool:
    plain = name.replace("_", "a").replace("-", "a")
    return plain.isascii() and plain.isalnum() and not name.isdigit()

"""Putting the files of a recorded tool back into the workspace.

Owns what each part of an `effect_chunk` means for the disk. Names are relative to the workspace; a
file is written beside its place and renamed, so that nobody sees half of it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SUFFIX = ".wflo-part"


class Restorer:
    """The files of one tool. The first error is kept, and nothing is done after it."""

    def __init__(self, root: str) -> None:
        self.error: Exception | None = None
        self._root = root
        self._part: Any = None

    def apply(self, delta: dict[str, Any]) -> None:
        """Does what one part says."""
        if self.error is not None:
            return
        try:
            self._apply(delta)
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.error = error

    def _apply(self, delta: dict[str, Any]) -> None:
        if "file" in delta:
            self._file(self._place(delta["file"]), delta)
        elif "folder" in delta:
            place = self._place(delta["folder"])
            os.makedirs(place, exist_ok=True)
            _give(place, delta)
            os.chmod(place, int(delta["mode"]))
        elif "mode_of" in delta:
            os.chmod(self._place(delta["mode_of"]), int(delta["mode"]))
        elif "link" in delta:
            place = self._place(delta["link"])
            _remove(place)
            os.symlink(_name(delta["target"]), place)
        elif "remove" in delta:
            _remove(self._place(delta["remove"]))

    def _file(self, place: str, delta: dict[str, Any]) -> None:
        if self._part is None:
            # Closed with the file's last part, which comes in a later frame.
            self._part = open(place + _SUFFIX, "wb")  # noqa: SIM115
        self._part.write(_bytes(delta["data"]))
        if "mode" not in delta:
            return
        self._part.close()
        self._part = None
        _give(place + _SUFFIX, delta)
        os.chmod(place + _SUFFIX, int(delta["mode"]))
        if "modified_ns" in delta:
            modified = int(delta["modified_ns"])
            os.utime(place + _SUFFIX, ns=(modified, modified))
        os.replace(place + _SUFFIX, place)

    def _place(self, name: Any) -> str:
        return os.path.join(self._root, _name(name))


def _bytes(value: dict[str, str]) -> bytes:
    from binascii import a2b_base64

    return a2b_base64(value["$bytes"])


def _name(value: Any) -> str:
    return value if isinstance(value, str) else os.fsdecode(_bytes(value))


def _give(place: str, delta: dict[str, Any]) -> None:
    """Sets its extended attributes; where the file system takes none, it has none."""
    for name, value in delta.get("attributes", ()):
        try:
            os.setxattr(place, os.fsencode(_name(name)), _bytes(value))
        except OSError as error:
            from errno import ENOTSUP

            if error.errno != ENOTSUP:
                raise


def _remove(place: str) -> None:
    try:
        os.unlink(place)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        import shutil

        shutil.rmtree(place)

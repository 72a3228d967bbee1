"""A disk that remembers what was done to it, and one that fails: `tests/faults/disk.c`, preloaded.

What a loss of power may leave is worked out by the strict reading of POSIX: what was flushed is there;
of what was written since, any subset may be, torn at each sector; a name is there for sure only once its
folder was flushed. The store's own tests (`crates/wflo-store/tests/faults`) do the same with its files
alone, and more of it.
"""

import random
import shutil
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "faults" / "disk.c"
SECTOR = 512


def build(folder: Path) -> Path:
    """The library to preload."""
    library = folder / "disk.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True)
    return library


@dataclass
class Op:
    """One thing that was done: see the kinds in `disk.c`."""

    kind: str
    inode: int
    offset: int
    data: bytes

    @property
    def name(self) -> str:
        return self.data.decode()


def read(log: Path) -> list[Op]:
    data, at, found = log.read_bytes(), 0, []
    while at + 25 <= len(data):
        inode, offset, length = struct.unpack_from("<QQQ", data, at + 1)
        found.append(Op(chr(data[at]), inode, offset, data[at + 25 : at + 25 + length]))
        at += 25 + length
    return found


@dataclass
class File:
    flushed: bytearray = field(default_factory=bytearray)
    since: list[Op] = field(default_factory=list)


class Disk:
    """A disk as it is while the record is played."""

    def __init__(self, ops: list[Op]) -> None:
        # Every name that the record will know of.
        self.known = {op.name.rpartition("\0")[2] for op in ops if op.kind in ("c", "r")}
        self.files: dict[int, File] = {}
        self.names: dict[str, int] = {}  # folders have inode 0
        self.names_since: list[tuple[str, str, int, str]] = []  # what, name, inode, old name
        self.seen: dict[str, int] = {}

    def play(self, op: Op) -> None:
        match op.kind:
            case "w" | "t":
                # A file that was there before the record began is whole.
                if op.inode in self.files:
                    self.files[op.inode].since.append(op)
            case "s":
                if file := self.files.get(op.inode):
                    for change in file.since:
                        change_bytes(file.flushed, change, lambda: True)
                    file.since.clear()
                here = [c for c in self.names_since if str(Path(c[1]).parent) == op.name]
                self.names_since = [c for c in self.names_since if c not in here]
                for change in here:
                    change_name(self.names, change)
            case "c" | "m" | "u" | "r":
                old, _, name = op.name.rpartition("\0")
                inode = {"c": op.inode, "r": self.seen.get(old, 0)}.get(op.kind, 0)
                if op.kind == "c":
                    self.files[inode] = File()
                change = ("u" if op.kind == "u" else "r", name, inode, old)
                change_name(self.seen, change)
                self.names_since.append(change)

    def image(self, root: Path, final: Path, target: Path, fate: str, chance: random.Random) -> None:
        """What may be there now, in `target`. What the record does not know is taken from `final`."""

        def keep() -> bool:
            return fate == "kept" or (fate == "torn" and chance.random() < 0.5)

        names = dict(self.names)
        for change in self.names_since:
            if keep():
                change_name(names, change)
        shutil.copytree(final, target, symlinks=True)
        for name in self.known:
            place = target / Path(name).relative_to(root)
            if place.is_file() and name not in names:
                place.unlink()
        for name, inode in names.items():
            if inode == 0:
                continue
            place = target / Path(name).relative_to(root)
            content = bytearray(self.files[inode].flushed)
            for op in self.files[inode].since:
                change_bytes(content, op, keep)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)


def change_name(names: dict[str, int], change: tuple[str, str, int, str]) -> None:
    what, name, inode, old = change
    names.pop(old, None)
    if what == "u":
        names.pop(name, None)
    else:
        names[name] = inode


def change_bytes(content: bytearray, op: Op, keep) -> None:
    if op.kind == "t":
        if keep():
            del content[op.offset :]
            content.extend(bytes(op.offset - len(content)))
        return
    at = 0
    while at < len(op.data):
        end = min(len(op.data), at + SECTOR - (op.offset + at) % SECTOR)
        if keep():
            content.extend(bytes(max(0, op.offset + end - len(content))))
            content[op.offset + at : op.offset + end] = op.data[at:end]
        at = end

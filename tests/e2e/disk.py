"""A disk that remembers what was done to it, and one that fails: `tests/faults/disk.c`, preloaded.

What a loss of power may leave is worked out by the strict reading of POSIX: what was flushed is there;
of what was written since, any subset may be, torn at each sector; a name is there for sure only once its
folder was flushed. The store's own tests (`crates/wflo-store/tests/faults`) do the same with its files
alone, and more of it.
"""

import os
import random
import struct
import subprocess
from collections.abc import Callable
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
    modified_ns: int | None = None


@dataclass
class Folder:
    """Names that are there for sure, what was done to them since, and what the running system sees."""

    flushed: dict[str, "File | Folder"] = field(default_factory=dict)
    since: list["Change"] = field(default_factory=list)
    seen: dict[str, "File | Folder"] = field(default_factory=dict)


@dataclass
class Change:
    """A name of a folder stands for `node` from here on, or for nothing; a move takes it from elsewhere."""

    name: str
    node: File | Folder | None
    moved: tuple[Folder, str] | None = None


class Disk:
    """A disk as it is while the record is played. What lies below `root` now was flushed long ago."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.inodes: dict[int, File] = {}
        self.top = self._whole(root)

    def _whole(self, folder: Path) -> Folder:
        found = Folder()
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                found.flushed[entry.name] = self._whole(entry)
            elif entry.is_file():
                stat = entry.stat()
                file = File(bytearray(entry.read_bytes()), modified_ns=stat.st_mtime_ns)
                self.inodes[stat.st_ino] = file
                found.flushed[entry.name] = file
        found.seen = dict(found.flushed)
        return found

    def _find(self, name: str) -> tuple[Folder | None, str]:
        """The folder that a name is in, and its last part."""
        *above, last = Path(name).relative_to(self.root).parts or ("",)
        folder: File | Folder | None = self.top
        for part in above:
            folder = folder.seen.get(part) if isinstance(folder, Folder) else None
        return (folder if isinstance(folder, Folder) else None), last

    def play(self, op: Op) -> None:
        match op.kind:
            case "w" | "t":
                if op.inode in self.inodes:
                    self.inodes[op.inode].since.append(op)
            case "s":
                folder, last = self._find(op.name)
                node = (self.top if not last else folder.seen.get(last)) if folder else None
                if isinstance(node, Folder):
                    for change in node.since:
                        apply(node, change)
                    node.since.clear()
                elif file := self.inodes.get(op.inode):
                    for change in file.since:
                        change_bytes(file.flushed, change, lambda: True)
                    file.since.clear()
            case "c" | "m" | "u" | "r" | "l":
                old, _, name = op.name.rpartition("\0")
                folder, last = self._find(name)
                if folder is None:
                    return
                moved = None
                if op.kind in "rl":
                    source, old = self._find(old)
                    node = source.seen.get(old) if source else None
                    if source is None or node is None:
                        return
                    if op.kind == "r":
                        moved = (source, old)
                        source.seen.pop(old)
                elif op.kind == "u":
                    node = None
                else:
                    node = Folder() if op.kind == "m" else File()
                    if isinstance(node, File):
                        self.inodes[op.inode] = node
                change_seen(folder, last, node)
                folder.since.append(Change(last, node, moved))

    def image(self, target: Path, fate: str, chance: random.Random) -> None:
        """What may be there now, in `target`, which is made. Of what was not flushed there is nothing (`lost`),
        anything (`torn`), or every name with nothing in it (`named`)."""

        def keep() -> bool:
            return fate == "torn" and chance.random() < 0.5

        names: dict[int, dict[str, File | Folder]] = {}
        folders = [self.top]
        for folder in folders:
            names[id(folder)] = dict(folder.flushed)
            folders += [n for n in folder.flushed.values() if isinstance(n, Folder) and id(n) not in names]
            folders += [c.node for c in folder.since if isinstance(c.node, Folder) and id(c.node) not in names]
        for folder in folders:
            for change in folder.since:
                if fate == "named" or keep():
                    if change.moved and names.get(id(change.moved[0]), {}).get(change.moved[1]) is change.node:
                        del names[id(change.moved[0])][change.moved[1]]
                    change_names(names[id(folder)], change)

        def write(folder: Folder, place: Path) -> None:
            place.mkdir()
            for name, node in names[id(folder)].items():
                if isinstance(node, Folder):
                    write(node, place / name)
                    continue
                content = bytearray(node.flushed)
                for op in node.since:
                    change_bytes(content, op, keep)
                (place / name).write_bytes(content)
                if node.modified_ns is not None:
                    os.utime(place / name, ns=(node.modified_ns, node.modified_ns))

        write(self.top, target)


def change_names(names: dict[str, File | Folder], change: Change) -> None:
    if change.node is None:
        names.pop(change.name, None)
    else:
        names[change.name] = change.node


def change_seen(folder: Folder, name: str, node: File | Folder | None) -> None:
    change_names(folder.seen, Change(name, node))


def apply(folder: Folder, change: Change) -> None:
    """The folder was flushed."""
    change_names(folder.flushed, change)
    if change.moved:
        source, old = change.moved
        source.flushed.pop(old, None)
        source.since = [c for c in source.since if c.name != old or c.node is not change.node]


def change_bytes(content: bytearray, op: Op, keep: Callable[[], bool]) -> None:
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

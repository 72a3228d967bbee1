"""No hand-written source file is over 800 lines, and none is a drawer for leftovers.

Aim at 400 lines and one idea a file. Over 800 is a design question; the answer is a split.
"""

from pathlib import Path

from checks import tree

MOST_LINES = 800
SOURCE = {".rs", ".py", ".pyi", ".ts", ".tsx", ".sh", ".sql"}
# A thing lives with its noun.
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "types"}


def check(root: Path) -> list[str]:
    found: list[str] = []
    for path in tree.files(root):
        if path.suffix not in SOURCE:
            continue
        if path.stem in DRAWERS:
            found.append(f"{path}: `{path.stem}` says nothing; put each thing in its noun's file")
        if path.name == "mod.rs":
            found.append(f"{path}: write {path.parent.name}.rs beside the folder instead")
        lines = len((root / path).read_text().splitlines())
        if lines > MOST_LINES:
            found.append(f"{path}: {lines} lines, at most {MOST_LINES}: split it by idea")
    return found

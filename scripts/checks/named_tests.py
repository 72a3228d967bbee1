"""Every test that a reference page names is there.

A page names a test as `CRATE::name`: the crate without its `wflo-`, and the function. A table that says what is
tested is worth as much as its names.
"""

import re
from pathlib import Path

PAGE = "docs/reference/faults.md"
NAME = re.compile(r"`(gateway|proxy|wflo|engine)::([a-z0-9_]+)`")
TEST = re.compile(r"#\[(?:tokio::)?test[^\]]*\](?:\s*#\[[^\]]*\])*\s*(?:async )?fn ([a-z0-9_]+)\(")


def tests(root: Path, crate: str) -> set[str]:
    folder = root / "crates" / (crate if crate == "wflo" else f"wflo-{crate}")
    return {
        name
        for part in ("src", "tests")
        for file in (folder / part).rglob("*.rs")
        for name in TEST.findall(file.read_text(encoding="utf-8"))
    }


def check(root: Path) -> list[str]:
    page = root / PAGE
    if not page.exists():
        return [f"{PAGE}: it is missing; it says what goes wrong and which test holds it"]
    named = NAME.findall(page.read_text(encoding="utf-8"))
    known = {crate: tests(root, crate) for crate, _ in named}
    return [
        f"{PAGE}: there is no test `{name}` in the crate of {crate}: write it, or correct the name"
        for crate, name in named
        if name not in known[crate]
    ]

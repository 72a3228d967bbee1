"""Every error code has a page, every page has a code, and no code has two meanings.

A code is *defined* in Rust source where a number is made a `Code`: `Code(1234)`, a `Code`
constant, or a number in the body of a `fn code(&self) -> Code`; and in the Python SDK where a
`WFLO-1234` literal is written outside a comment. Other mentions (comments, Markdown, tests) must
have a page too, but do not define.
"""

import re
from pathlib import Path

from checks import tree

DIRECT = re.compile(r"\bCode\(\s*(\d{4})\s*\)")
BODY = re.compile(r"fn code\(&self\)\s*->\s*(?:\w+::)*Code\s*\{")
NUMBER = re.compile(r"(?<![\w.])(\d{4})(?!\w)")
MENTION = re.compile(r"\bWFLO-(\d{4})\b")
TITLE = re.compile(r"# WFLO-(\d{4}): \S.*")
TEST_MODULE = re.compile(r"#\[cfg\((?:all\()?test\b[^\n]*\n(?:#[^\n]*\n)*\s*mod \w+ \{")
SECTIONS = ("Cause", "Example", "Fix")
# Stands for "any code" in prose.
PLACEHOLDER = "1234"
RANGES = {1: "definitions", 2: "storage", 3: "runs and workers", 4: "gateway and budgets",
          5: "sandbox and workspace", 6: "databases and undo", 7: "approvals",
          8: "settings and the command line", 9: "internal"}  # fmt: skip


def without_comments(text: str, marker: str) -> str:
    return "\n".join(line.split(marker, 1)[0] for line in text.splitlines())


def block(text: str, start: int) -> str:
    """The text from `start` (just after an opening brace) to its closing brace."""
    depth = 1
    for i in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start:i]
    return text[start:]


def defined_in_rust(text: str) -> set[str]:
    text = without_comments(text, "//")
    if test := TEST_MODULE.search(text):
        text = text[: test.start()]
    codes = set(DIRECT.findall(text))
    for match in BODY.finditer(text):
        codes |= set(NUMBER.findall(block(text, match.end())))
    return codes


def defined_in_python(text: str) -> set[str]:
    return set(MENTION.findall(without_comments(text, "#")))


def page_findings(place: str, code: str, text: str) -> list[str]:
    found: list[str] = []
    title = TITLE.fullmatch(text.splitlines()[0] if text else "")
    if not title or title[1] != code:
        found.append(f"{place}: the first line must be `# WFLO-{code}: short title`")
    found += [
        f"{place}: the section `## {name}` is missing"
        for name in SECTIONS
        if not re.search(rf"^(## {name}\b|\*\*{name}\b)", text, re.MULTILINE)
    ]
    if int(code[0]) not in RANGES:
        found.append(f"{place}: {code} lies in no range")
    return found


def check(root: Path) -> list[str]:
    defined: dict[str, str] = {}
    mentioned: dict[str, str] = {}
    pages: dict[str, Path] = {}
    for path in tree.files(root):
        place = path.as_posix()
        page = re.fullmatch(r"docs/errors/WFLO-(\d{4})\.md", place)
        if page:
            pages[page[1]] = path
        if path.suffix not in {".rs", ".py", ".md"} or place.startswith("scripts/"):
            continue
        text = (root / path).read_text()
        for code in set(MENTION.findall(text)) - {PLACEHOLDER}:
            mentioned.setdefault(code, place)
        if re.match(r"crates/[^/]+/src/.*\.rs$", place) and not place.endswith("/tests.rs"):
            for code in defined_in_rust(text):
                defined.setdefault(code, place)
        elif re.match(r"python/wflo/.*\.py$", place):
            for code in defined_in_python(text):
                defined.setdefault(code, place)
    found = [f"{where}: WFLO-{code} has no page; write docs/errors/WFLO-{code}.md"
             for code, where in sorted((mentioned | defined).items()) if code not in pages]  # fmt: skip
    found += [f"{path.as_posix()}: no source defines WFLO-{code}; remove the page or the code was lost"
              for code, path in sorted(pages.items()) if code not in defined]  # fmt: skip
    for code, path in sorted(pages.items()):
        found += page_findings(path.as_posix(), code, (root / path).read_text())
    return found

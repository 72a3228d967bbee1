"""Every link inside the repository's Markdown leads somewhere.

Relative targets must exist, and a `#fragment` into a Markdown file must be one of its headings
(GitHub's slug rules). Addresses on the web are not asked: a check must not need a network.
"""

import re
from pathlib import Path
from urllib.parse import unquote

from checks import tree

FENCE = re.compile(r"^ {0,3}(```+|~~~+).*?^ {0,3}\1[ \t]*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)(?:.*?)\1", re.DOTALL)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^()\s<>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
HEADING = re.compile(r"^ {0,3}#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)


def slugs(text: str) -> set[str]:
    """The anchors of a Markdown text: lower case, punctuation gone, spaces as hyphens."""
    seen: dict[str, int] = {}
    for heading in HEADING.findall(FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        if count:
            seen[f"{slug}-{count}"] = 1
    return set(seen)


def targets(text: str) -> list[str]:
    prose = CODE.sub("", FENCE.sub("", text))
    return LINK.findall(prose) + REFERENCE.findall(prose)


def check(root: Path) -> list[str]:
    found: list[str] = []
    for path in tree.files(root):
        if path.suffix != ".md":
            continue
        text = (root / path).read_text()
        for target in targets(text):
            if re.match(r"[a-z][a-z0-9+.-]*:", target, re.IGNORECASE):
                continue
            file, _, fragment = unquote(target).partition("#")
            to = (root / path.parent / file).resolve() if file else root / path
            if not to.is_relative_to(root.resolve()) or not to.exists():
                found.append(f"{path}: the link `{target}` leads nowhere")
            elif fragment and to.suffix == ".md" and fragment not in slugs(to.read_text()):
                found.append(f"{path}: `{target}`: no heading has that anchor")
    return found

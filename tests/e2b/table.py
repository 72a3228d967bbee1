"""What the stock SDKs did: by language and call, and the table of it."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path

import environments
from calls import CALLS
from served import Served, Wflo

HERE = Path(__file__).parent
LANGUAGES = ("Python", "JavaScript")
NAMES = {
    "Python": list(CALLS),
    "JavaScript": [
        first or second
        for first, second in re.findall(
            r"^call\((?:'([^']*)'|\"([^\"]*)\")", (HERE / "programs/calls.mjs").read_text(), re.M
        )
    ],
}


class Did:
    """Runs the calls of a language when somebody asks for one of them first."""

    def __init__(self, wflo: Wflo, folder: Path) -> None:
        self.wflo, self.folder = wflo, folder
        self.of = cache(self.run)

    def run(self, language: str) -> dict[str, str | None]:
        """Each call's error, or `None` where it did what it should."""
        folder = self.folder / language
        folder.mkdir()
        python = environments.python("e2b")
        if language == "Python":
            command = [str(python), str(HERE / "programs/calls.py")]
        else:
            (folder / "calls.mjs").write_text((HERE / "programs/calls.mjs").read_text())
            (folder / "node_modules").symlink_to(environments.node_modules("e2b"))
            command = [str(environments.node("e2b")), "calls.mjs"]
        with Served(self.wflo, folder, "--python", str(python)) as served:
            ran = subprocess.run(command, cwd=folder, env=served.env(), capture_output=True, text=True, timeout=1200)
        found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
        did = {one["call"]: one["error"] for one in found}
        missing = f"it was not tried: {ran.stderr[-3000:]}"
        return {name: did.get(name, missing) for name in NAMES[language]}


def page(did: Did) -> str:
    pinned = environments.versions("e2b")
    packages = json.loads((HERE / "node/package.json").read_text())["dependencies"]
    lines = [
        "# Calls of E2B's SDKs",
        "",
        "What the stock SDKs do with [`wflo sandbox serve`](../guides/e2b.md): each line is tried by `make test-e2b-sdks`,",
        "with nothing of them changed. `make e2b-table` writes this page.",
        "",
        f"Python: `e2b` {pinned['e2b']}, `e2b-code-interpreter` {pinned['e2b-code-interpreter']}.",
        f"JavaScript: `e2b` {packages['e2b']}, `@e2b/code-interpreter` {packages['@e2b/code-interpreter']}.",
        "",
        "| call | Python | JavaScript |",
        "|---|---|---|",
    ]
    for name in dict.fromkeys([*NAMES["Python"], *NAMES["JavaScript"]]):
        cells = [mark(did, language, name) for language in LANGUAGES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "A line without a word is not tried in that language.", ""]
    return "\n".join(lines)


def mark(did: Did, language: str, name: str) -> str:
    if name not in NAMES[language]:
        return ""
    return "passes" if did.of(language)[name] is None else "**fails**"

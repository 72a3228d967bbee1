"""Run what the documentation tells a reader to run, and compare with what it shows.

    python scripts/docs_snippets.py README.md docs/guides …

Each Markdown file is one session in a scratch folder of its own, from top to bottom:

- a `console` block: each `$ ` line is run by bash; the lines under it are its expected output
  (none: only the exit code counts). `# exit 3` at a command's end is the code it must end with.
- a `python`, `toml` or `json` block must parse. With `<!-- file: NAME -->` on the line before, a
  block of any language is also written to NAME in the session's folder.
- `<!-- when: COMMAND -->` on the line before waits until the command ends with 0, then runs the block.
- `<!-- not run: reason -->` on the line before skips a block; the reason is printed and counted.
- `<!-- needs: local model -->` anywhere starts the demo's model for the session, as OPENAI_BASE_URL.

Real output can be pasted as it is: ids, times, durations, money and ports match any other of their
kind, spaces match any spaces, and `...` on a line of its own matches any lines. An id shown in an
output stands for the real one in later commands.

Exit 1 when something differs. Standard library only.
"""

import argparse
import ast
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[a-z ]+): (?P<value>.+?) -->\n\n?)?^```(?P<language>\w+)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
EXIT = re.compile(r"\s+# exit (\d+)$")
ID = re.compile(r"\b(?:run|apr|bud|hld|snp|sbx)_[0-9a-f][0-9a-f-]*[0-9a-f]\b")
# What differs from one run to the next, most specific first.
CHANGING = [
    ("<id>", ID),
    ("<time>", re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?|\b\d\d:\d\d:\d\d\b")),
    ("<address>", re.compile(r"127\.0\.0\.1:\d+")),
    ("<money>", re.compile(r"\$\d+(?:\.\d+)?")),
    ("<duration>", re.compile(r"\b\d+(?:\.\d+)?\s?(?:ms|s|min|h)\b|\b\d+m ?\d+s\b")),
    ("<resources>", re.compile(r"of a core(?:, \d+(?:\.\d+)? [kM]?B)?")),
    ("<pid>", re.compile(r"\b(?:pid|[Pp]rocess) \d+\b")),
    ("<user>", re.compile(r"\blocal:[\w.-]+")),
    ("<hash>", re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,64}\b")),
    ("<version>", re.compile(r"\b\d+\.\d+\.\d+\b")),
    ("<rule>", re.compile(r"[─━═█▓▒░▏▎▍▌▋▊▉╸╺]+")),
]
COMMAND_SECONDS = 180


def normal(line: str) -> str:
    for name, pattern in CHANGING:
        line = pattern.sub(name, line)
    return " ".join(line.split())


def matches(expected: list[str], got: list[str]) -> bool:
    """Whether the lines agree; `...` stands for any lines, also none."""
    if not expected:
        return not got
    if expected[0].strip() == "...":
        return any(matches(expected[1:], got[i:]) for i in range(len(got) + 1))
    return bool(got) and normal(expected[0]) == normal(got[0]) and matches(expected[1:], got[1:])


def ids_shown(expected: list[str], got: list[str]) -> dict[str, str]:
    """Each id of the document, and the real one at its place."""
    shown, real = (ID.findall("\n".join(lines)) for lines in (expected, got))
    return dict(zip(shown, real, strict=False))


class Session:
    """One Markdown file, run in one folder."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.cwd = folder
        self.environment = environment
        self.ids: dict[str, str] = {}
        self.problems: list[str] = []
        self.ran = 0

    def command(self, text: str, expected: list[str], place: str) -> None:
        exit_match = EXIT.search(text)
        wanted = int(exit_match[1]) if exit_match else 0
        command = EXIT.sub("", text)
        for shown, real in self.ids.items():
            command = command.replace(shown, real)
        # The folder a command ends in is where the next one starts.
        where = self.folder / ".cwd"
        script = f'{command}\ncode=$?; pwd > "{where}"; exit $code'
        try:
            done = subprocess.run(
                ["bash", "-c", script],
                cwd=self.cwd,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            self.problems.append(f"{place}: `{command}` did not end within {COMMAND_SECONDS} s")
            return
        if where.exists():
            self.cwd = Path(where.read_text().strip())
        self.ran += 1
        got = done.stdout.rstrip("\n").splitlines()
        if done.returncode != wanted:
            self.problems.append(f"{place}: `{command}` ended with {done.returncode}, not {wanted}:")
            self.problems += [f"    {line}" for line in got[-20:]]
        elif expected and not matches(expected, got):
            self.problems.append(f"{place}: `{command}` shows something else. The document:")
            self.problems += [f"    {line}" for line in expected]
            self.problems.append("  now:")
            self.problems += [f"    {line}" for line in got]
        self.ids |= ids_shown(expected, got)

    def wait(self, command: str, place: str) -> None:
        """Until the command succeeds."""
        deadline = time.monotonic() + COMMAND_SECONDS
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        while subprocess.call(["bash", "-c", command], cwd=self.cwd, env=self.environment, **silent):
            if time.monotonic() > deadline:
                self.problems.append(f"{place}: `{command}` did not come true within {COMMAND_SECONDS} s")
                return
            threading.Event().wait(0.1)

    def console(self, body: str, place: str, first_line: int) -> None:
        command, expected, at = "", [], 0
        for number, line in enumerate([*body.splitlines(), "$ "], first_line):
            if not line.startswith("$ "):
                expected.append(line)
                continue
            if command:
                while expected and not expected[-1].strip():
                    expected.pop()
                self.command(command, expected, f"{place}:{at}")
            command, expected, at = line[2:].strip(), [], number

    def parse(self, language: str, body: str, place: str) -> None:
        try:
            if language == "python":
                compile(body, place, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
            elif language == "toml":
                tomllib.loads(body)
            elif language == "json":
                json.loads(body)
            else:
                return
        except (SyntaxError, ValueError) as error:
            self.problems.append(f"{place}: this {language} does not parse: {error}")
        self.ran += 1


@contextlib.contextmanager
def local_model(environment: dict[str, str]) -> Iterator[None]:
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "model_server.py"), "--until-eof"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin and server.stdout
    try:
        environment["OPENAI_BASE_URL"] = json.loads(server.stdout.readline())["base_url"]
        yield
    finally:
        server.stdin.close()
        server.wait(timeout=30)


def run(path: Path) -> tuple[int, int, list[str]]:
    """Run one file; how much ran, how much was skipped, and what differed."""
    text = path.read_text()
    name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb"}
    # What a model key of the reader's own would change.
    for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        environment.pop(key, None)
    skipped = 0
    with contextlib.ExitStack() as stack:
        if "<!-- needs: local model -->" in text:
            stack.enter_context(local_model(environment))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wflo-docs-")))
        session = Session(folder, environment)
        for block in BLOCK.finditer(text):
            line = text.count("\n", 0, block.start("body")) + 1
            place = f"{name}:{line}"
            if block["mark"] == "not run":
                print(f"  {place}: not run: {block['value']}")
                skipped += 1
                continue
            if block["mark"] == "when":
                session.wait(block["value"], place)
            if block["mark"] == "file":
                target = session.cwd / block["value"]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block["body"])
            if block["language"] == "console":
                session.console(block["body"], name, line)
            else:
                session.parse(block["language"], block["body"], place)
    return session.ran, skipped, session.problems


def main() -> int:
    parser = argparse.ArgumentParser(description="run the documentation's snippets")
    parser.add_argument("paths", nargs="+", type=Path)
    arguments = parser.parse_args()
    files = [f.resolve() for p in arguments.paths for f in (sorted(p.rglob("*.md")) if p.is_dir() else [p])]
    passed = skipped = 0
    failed: list[str] = []
    for path in files:
        ran, left_out, problems = run(path)
        print(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}: {ran} snippets ran")
        for problem in problems:
            print(f"  {problem}")
        passed += ran
        skipped += left_out
        failed += [p for p in problems if not p.startswith("  ")]
    print(f"docs: {passed - len(failed)} passed, {len(failed)} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

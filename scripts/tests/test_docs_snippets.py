"""The documentation's snippets are really run, and a difference is really found."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import docs_snippets


def run(tmp_path: Path, text: str) -> tuple[int, int, list[str]]:
    path = tmp_path / "page.md"
    path.write_text(text)
    return docs_snippets.run(path)


def test_output_that_agrees_passes_and_folders_persist(tmp_path: Path) -> None:
    page = "```console\n$ mkdir a && cd a\n$ echo one; echo two\none\ntwo\n```\n\n```console\n$ basename $PWD\na\n```\n"
    assert run(tmp_path, page) == (3, 0, [])


def test_output_that_differs_fails_and_shows_both(tmp_path: Path) -> None:
    _, _, problems = run(tmp_path, "```console\n$ echo two\none\n```\n")
    assert "shows something else" in problems[0] and "    one" in problems and "    two" in problems


def test_a_wrong_exit_code_fails_and_a_named_one_passes(tmp_path: Path) -> None:
    assert "ended with 3, not 0" in run(tmp_path, "```console\n$ (exit 3)\n```\n")[2][0]
    assert run(tmp_path, "```console\n$ (exit 3)  # exit 3\n```\n")[2] == []


def test_what_changes_from_run_to_run_matches_its_kind_only(tmp_path: Path) -> None:
    command = "echo 'run_0199-ab took 3.1 s, $0.0021 at 127.0.0.1:4711'"
    agrees = f"```console\n$ {command}\nrun_01aa-ff  took 950 ms, $0.5 at 127.0.0.1:80\n```\n"
    differs = f"```console\n$ {command}\nrun_01aa-ff took 950 ms, 0.5 at 127.0.0.1:80\n```\n"
    assert run(tmp_path, agrees)[2] == []
    assert run(tmp_path, differs)[2] != []


def test_an_id_that_was_shown_stands_for_the_real_one(tmp_path: Path) -> None:
    page = "```console\n$ echo id run_0b0b0b\nid run_0a0a0a\n$ test run_0a0a0a = run_0b0b0b\n```\n"
    assert run(tmp_path, page)[2] == []


def test_dots_match_any_lines(tmp_path: Path) -> None:
    assert run(tmp_path, "```console\n$ seq 5\n1\n...\n5\n```\n")[2] == []
    assert run(tmp_path, "```console\n$ seq 5\n1\n...\n4\n```\n")[2] != []


def test_files_are_written_and_code_must_parse(tmp_path: Path) -> None:
    page = "<!-- file: a/b.py -->\n```python\nprint(await_me := 1)\n```\n\n```console\n$ python3 a/b.py\n1\n```\n"
    assert run(tmp_path, page) == (2, 0, [])
    assert "does not parse" in run(tmp_path, "```python\nif\n```\n")[2][0]
    assert "does not parse" in run(tmp_path, "```toml\na =\n```\n")[2][0]


def test_a_block_that_is_not_run_is_counted(tmp_path: Path) -> None:
    assert run(tmp_path, "<!-- not run: it would take an hour -->\n```console\n$ false\n```\n") == (0, 1, [])

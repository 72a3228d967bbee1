"""The repository's own checks find what they promise to find."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from checks import crate_map, error_pages, file_sizes, links, named_tests


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def manifest(name: str, dependencies: list[str], dev: list[str]) -> str:
    lines = [f'[package]\nname = "{name}"\n[dependencies]']
    lines += [f"{d}.workspace = true" for d in dependencies]
    lines += ["[dev-dependencies]", *(f"{d}.workspace = true" for d in dev)]
    return "\n".join(lines)


def test_arrows_that_point_inwards_pass(repo: Path) -> None:
    write(repo, "crates/wflo-core/Cargo.toml", manifest("wflo-core", ["serde"], []))
    write(repo, "crates/wflo-store/Cargo.toml", manifest("wflo-store", ["wflo-core"], ["wflo-testkit"]))
    write(repo, "crates/wflo-engine/Cargo.toml", manifest("wflo-engine", ["wflo-core", "wflo-store"], []))
    assert crate_map.check(repo) == []


@pytest.mark.parametrize(
    ("name", "dependencies", "says"),
    [
        ("wflo-core", ["wflo-store"], "arrows point inwards"),
        ("wflo-store", ["wflo-data"], "arrows point inwards"),
        ("wflo-gateway", ["wflo-engine"], "arrows point inwards"),
        ("wflo-core", ["tokio"], "pure"),
        ("wflo-engine", ["wflo-testkit"], "dev-dependencies"),
        ("wflo-testkit", ["wflo-store"], "wflo-core only"),
        ("wflo-novel", [], "has no layer"),
    ],
)
def test_an_arrow_that_points_outwards_is_found(repo: Path, name: str, dependencies: list[str], says: str) -> None:
    write(repo, f"crates/{name}/Cargo.toml", manifest(name, dependencies, []))
    (finding,) = crate_map.check(repo)
    assert says in finding


PAGE = "# WFLO-1004: a cycle\n\n## Cause\n\n## Example\n\n## Fix\n"
SOURCE = """
impl Coded for E {
    fn code(&self) -> Code {
        match self { E::Cycle => Code(1004), E::Big { .. } => code_of(1005) }
    }
}
#[cfg(test)]
mod tests { const FAKE: Code = Code(1999); }
"""


def test_a_code_and_its_page_belong_together(repo: Path) -> None:
    write(repo, "crates/wflo-core/src/e.rs", "const A: Code = Code(1004); // Code(1111)")
    write(repo, "docs/errors/WFLO-1004.md", PAGE)
    assert error_pages.check(repo) == []


def test_codes_are_read_from_the_body_of_code_and_not_from_tests() -> None:
    assert error_pages.defined_in_rust(SOURCE) == {"1004", "1005"}


def test_a_code_without_a_page_and_a_page_without_a_code_are_found(repo: Path) -> None:
    write(repo, "crates/wflo-core/src/e.rs", "const A: Code = Code(1005);")
    write(repo, "docs/errors/WFLO-1004.md", PAGE)
    findings = error_pages.check(repo)
    assert any("WFLO-1005 has no page" in f for f in findings)
    assert any("no source defines WFLO-1004" in f for f in findings)


def test_a_page_without_its_sections_is_found(repo: Path) -> None:
    write(repo, "crates/wflo-core/src/e.rs", "Code(1004)")
    write(repo, "docs/errors/WFLO-1004.md", "# WFLO-1005: wrong\n\n## Cause\n")
    findings = "\n".join(error_pages.check(repo))
    assert "first line" in findings and "`## Example`" in findings and "`## Fix`" in findings


def test_a_long_file_and_a_drawer_are_found(repo: Path) -> None:
    write(repo, "a.rs", "x\n" * 801)
    write(repo, "b.rs", "x\n" * 800)
    write(repo, "c/utils.py", "")
    findings = file_sizes.check(repo)
    assert len(findings) == 2 and "a.rs: 801 lines" in findings[0] and "c/utils.py" in findings[1]


def test_links_lead_somewhere(repo: Path) -> None:
    write(repo, "docs/b.md", "# Two words: `code`\n")
    write(
        repo,
        "a.md",
        "[ok](docs/b.md#two-words-code) [web](https://example.org/x) `[code](nowhere.md)`\n"
        "```\n[fenced](nowhere.md)\n```\n[bad](docs/c.md) [worse](docs/b.md#three)\n",
    )
    findings = links.check(repo)
    assert len(findings) == 2
    assert "docs/c.md" in findings[0] and "docs/b.md#three" in findings[1]


def test_a_page_that_names_a_test_that_is_not_there_is_found(repo: Path) -> None:
    write(repo, named_tests.PAGE, "| a fault | `gateway::it_holds` | `wflo::it_is_gone` |\n")
    write(repo, "crates/wflo-gateway/tests/a.rs", "#[tokio::test]\nasync fn it_holds() {}\nfn it_is_gone() {}\n")
    write(repo, "crates/wflo/src/lib.rs", "fn it_is_gone() {}\n")
    (finding,) = named_tests.check(repo)
    assert "`it_is_gone`" in finding and "crate of wflo" in finding

"""A program in a project of Git's: what it sees of it, what Git takes for deleted, and what of it comes back."""

import subprocess
from pathlib import Path

import pytest
from project import DEADLINE, Project


@pytest.fixture
def repository(project: Project) -> Project:
    project.git("init", "-q", "-b", "main", ".")
    project.git("config", "user.name", "a")
    project.git("config", "user.email", "a@b.example")
    project.write(".gitignore", ".wflo/\n")
    return project


def commit(project: Project, *paths: str) -> None:
    project.git("add", *paths)
    project.git("commit", "-qm", "one")


COMMIT = "echo 2 >> a; git commit -qam two"


def test_a_template_of_an_environment_is_seen_and_survives_a_commit(repository: Project) -> None:
    repository.write("a", "1\n")
    repository.write(".env.example", "OPENAI_API_KEY=your-key\n")
    commit(repository, "a", ".env.example")
    script = f"cat .env.example; echo MORE= >> .env.example; {COMMIT}; git status -s -uno"
    done = repository.call("run", "--", "sh", "-c", script)
    assert done.code == 0 and done.out == "OPENAI_API_KEY=your-key\n", done
    assert "for deleted" not in done.err, done
    assert repository.call("apply", "latest", ".", "--yes").code == 0
    assert repository.git("log", "--format=%s") == "two\none\n"
    assert repository.git("ls-files") == ".env.example\na\n"
    assert repository.git("status", "-s", "-uno") == ""
    assert repository.call("run", "--", "cat", ".env.example").out == "OPENAI_API_KEY=your-key\nMORE=\n"


def test_a_template_that_git_does_not_have_as_it_is_is_hidden_and_stays(repository: Project) -> None:
    (repository.folder / ".env.example").write_text("KEY=committed\n")
    (repository.folder / "b").mkdir()
    repository.write("b/sample.env", "KEY=committed\n")
    commit(repository, ".env.example", "b/sample.env")
    repository.write(".env.example", "KEY=real\n")
    repository.write(".env.new.example", "KEY=real\n")
    script = "cat .env.example .env.new.example b/sample.env; for f in .env.example .env.new.example b/sample.env; do echo 2 > $f; done"
    done = repository.call("run", "--", "sh", "-c", script)
    assert done.code == 0 and done.out == "KEY=committed\n" and "for deleted there: .env.example;" in done.err, done
    applied = repository.call("apply", "latest", ".", "--yes")
    assert applied.code == 0 and applied.err.count("hidden paths are never written") == 2, applied
    for path, text in (".env.example", "KEY=real\n"), (".env.new.example", "KEY=real\n"), ("b/sample.env", "2\n"):
        assert (repository.folder / path).read_text() == text, path


def test_without_git_in_sight_a_template_is_hidden(repository: Project) -> None:
    repository.write(".env.example", "KEY=committed\n")
    commit(repository, ".env.example")
    repository.write("wflo.toml", f'{repository.settings}[sandbox]\nhide = [".git/"]\n')
    done = repository.call("run", "--", "cat", ".env.example")
    assert done.code == 1 and done.out == "" and "deleted" not in done.err, done


def test_what_is_hidden_and_tracked_is_named_and_can_be_left_alone(repository: Project) -> None:
    repository.write("a", "1\n")
    repository.write(".env", "SECRET=1\n")
    commit(repository, "a", ".env")
    done = repository.call("run", "--", "sh", "-c", COMMIT)
    said = "hidden, but tracked by Git, which takes it for deleted there: .env;"
    assert done.code == 0 and said in done.err and "--skip-worktree" in done.err, done
    notices = [line for line in repository.call("runs", "events", "latest").out.splitlines() if "skip-worktree" in line]
    assert len(notices) == 1, notices
    # As it proposes.
    repository.git("update-index", "--skip-worktree", ".env")
    done = repository.call("run", "--", "sh", "-c", f"{COMMIT}; git status -s -uno")
    assert done.code == 0 and "deleted" not in done.err and done.out == "", done
    assert repository.call("apply", "latest", ".", "--yes").code == 0
    assert repository.git("ls-files") == ".env\na\n"
    assert (repository.folder / ".env").read_text() == "SECRET=1\n"


def test_a_repository_that_lies_elsewhere_is_named_and_can_be_shown(repository: Project, tmp_path: Path) -> None:
    repository.write("a", "1\n")
    commit(repository, "a", ".gitignore")
    folder = tmp_path / "beside"
    repository.git("worktree", "add", "-q", str(folder))
    tree = repository.at(folder)
    tree.write("wflo.toml", repository.settings)
    done = tree.call("run", "--", "git", "log", "--format=%s")
    common = str(repository.folder / ".git")
    said = "Git's folder of the project lies outside of it"
    assert done.code == 128 and f"{said}, and steps do not see it: name {common} under `ro`" in done.err, done
    tree.write("wflo.toml", f'{repository.settings}[sandbox]\nro = ["{common}"]\n')
    done = tree.call("run", "--", "git", "log", "--format=%s")
    assert done.code == 0 and done.out == "one\n" and said not in done.err, done


def test_a_folder_that_is_not_gits_is_not_advised_to_be_shown(project: Project, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    project.write(".git", f"gitdir: {tmp_path / 'keys'}\n")
    done = project.call("run", "--", "true")
    assert done.code == 0 and "keys" not in done.err, done


def test_the_projects_own_files_come_first_and_objects_are_one_line(repository: Project) -> None:
    repository.write("a", "1\n")
    commit(repository, "a", ".gitignore")
    done = repository.call("run", "--apply", "--", "sh", "-c", COMMIT)
    files = next(line for line in done.err.splitlines() if "changed:" in line)
    assert files.split("changed: ")[1] == "~a and 8 of Git's", files
    left = [line for line in done.err.splitlines() if "left out" in line]
    assert sum("objects of Git" in line for line in left) == 1, left
    assert any(".git/objects were left out" in line and "3 files" in line for line in left), left
    assert (repository.folder / "a").read_text() == "1\n2\n"
    later = repository.call("apply", "latest")
    assert later.code == 1 and sum("objects of Git" in line for line in later.err.splitlines()) == 1, later


def test_a_line_without_an_end_is_ended_before_wflos(project: Project) -> None:
    done = subprocess.run(
        [project.wflo, "run", "--", "printf", "half"],
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    assert "half\n" in done.stdout, done
    apart = project.call("run", "--", "printf", "half")
    assert apart.out == "half", "nothing is added to what a program says"

"""What acts on a person by itself is not brought in unasked, under whatever name it does."""

import subprocess

from project import Project
from terminal import Terminal


def ran(project: Project, script: str) -> str:
    done = project.call("run", "--", "sh", "-c", script)
    assert done.code == 0, done
    applied = project.call("apply", "latest")
    return applied.out + applied.err


def test_a_repository_in_a_plain_folder_runs_nothing(project: Project) -> None:
    project.git("init", "-q", ".")
    project.write("docs/i", "docs\n")
    said = ran(
        project,
        "cd docs && mkdir -p objects refs && echo 'ref: refs/heads/main' > HEAD && echo notes > notes.txt && "
        "printf '[core]\\n\\tbare = false\\n\\tworktree = .\\n\\tfsmonitor = \"touch ../ran; false\"\\n' > config",
    )
    assert "docs/HEAD was left out" in said and "docs/config was left out" in said, said
    assert (project.folder / "docs/notes.txt").exists() and not (project.folder / "docs/config").exists()
    subprocess.run(["git", "status"], cwd=project.folder / "docs", capture_output=True, check=False)
    assert not (project.folder / "ran").exists()


def test_the_configuration_of_a_repository_that_lies_elsewhere_has_no_credentials(project: Project) -> None:
    project.git("init", "-q", "--separate-git-dir=.bare", ".")
    project.git("config", "http.https://host.example/.extraheader", "AUTHORIZATION: basic c2VjcmV0")
    before = (project.folder / ".bare/config").read_text()
    said = ran(project, "cat .bare/config > seen; printf '[core]\\n\\tfsmonitor = x\\n' >> .bare/config")
    seen = (project.folder / "seen").read_text()
    assert "[core]" in seen and "c2VjcmV0" not in seen, seen
    assert ".bare/config was left out" in said and (project.folder / ".bare/config").read_text() == before, said


def test_what_git_and_links_lead_to_is_left_out(project: Project) -> None:
    project.git("init", "-q", ".")
    project.git("config", "core.hooksPath", "scripts/githooks")
    project.write("scripts/githooks/pre-commit", "#!/bin/sh\n")
    (project.folder / "scripts/githooks/pre-commit").chmod(0o755)
    project.write("conf/main.make", "all:\n")
    (project.folder / "Makefile").symlink_to("conf/main.make")
    said = ran(
        project,
        "echo 'touch ran' >> scripts/githooks/pre-commit; echo 'x: ; touch ran' >> conf/main.make; echo > free; "
        "mkdir AGENTS.md web; echo > AGENTS.md/a; ln -s ../.env web/config.js",
    )
    for path in ("scripts/githooks/pre-commit", "conf/main.make", "AGENTS.md/a", "web/config.js"):
        assert f"{path} was left out" in said, said
    assert (project.folder / "free").exists()
    assert (project.folder / "conf/main.make").read_text() == "all:\n"


def committed(project: Project) -> str:
    """A run with a commit of two files; its id."""
    project.git("init", "-q", "-b", "main", ".")
    project.git("config", "user.name", "a")
    project.git("config", "user.email", "a@b.example")
    project.write("a", "one\n")
    project.git("add", "a")
    project.git("commit", "-qm", "one")
    done = project.call("run", "--json", "--", "sh", "-c", "echo 2 > a; echo 3 > b; git add a b; git commit -qm two")
    assert done.code == 0, done
    return done.run["id"]


def test_a_branch_does_not_come_without_its_objects(project: Project) -> None:
    run = committed(project)
    done = project.call("apply", run, ".git/refs", "--yes")
    assert done.code == 1 and "may name objects of Git that are left out" in done.err, done
    assert "--force" not in done.err, done
    assert project.git("log", "--format=%s") == "one\n"
    assert project.call("apply", run, ".", "--yes").code == 0
    assert project.git("log", "--format=%s") == "two\none\n"
    assert project.git("status", "--porcelain", "--untracked-files=no") == ""
    project.git("fsck", "--strict")


def test_objects_of_git_are_asked_about_once(project: Project) -> None:
    run = committed(project)
    # And about the index, the branch and its message, one by one.
    for objects, code, commits in ("n", 1, "one\n"), ("y", 0, "two\none\n"):
        with Terminal(project, "apply", run, rows=200, columns=200) as screen:
            screen.until(".git/objects gets 4 files with objects of Git")
            for asked, answer in enumerate([objects, "y", "y", "y"], start=1):
                screen.until("[y/N]", asked)
                screen.type(answer)
            assert screen.end() == code, screen.text
        assert project.git("log", "--format=%s") == commits, screen.text


def test_a_no_to_a_file_holds_although_its_folder_was_to_go(project: Project) -> None:
    project.write(".github/w/one.yml", "1\n")
    project.write(".github/w/two.yml", "2\n")
    assert project.call("run", "--", "rm", "-r", ".github").code == 0
    with Terminal(project, "apply", "latest", rows=200, columns=200) as screen:
        # The folders are no question of their own.
        for asked, answer in enumerate(["y", "n"], start=1):
            screen.until("[y/N]", asked)
            screen.type(answer)
        assert screen.end() == 0, screen.text
    assert [path.name for path in (project.folder / ".github/w").iterdir()] == ["two.yml"], screen.text

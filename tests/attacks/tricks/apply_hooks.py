"""Files that act by themselves, brought into the project: hooks of git, of shells, of tests, of editors"""

from pathlib import Path

from attack import Host, Ran, Setup
from attack import Trick as Base

PLANTED = (
    ".git/hooks/post-checkout", ".envrc", "conftest.py", ".vscode/tasks.json", "sitecustomize.py",
    ".github/workflows/own.yml", "package.json", ".husky/pre-commit",
)  # fmt: skip


class Trick(Base):
    area = "apply"

    def prepare(self, host: Host) -> Setup:
        host.file("project/.git/HEAD", "ref: refs/heads/main\n", 0o644)
        host.file("project/.git/config", "[core]\n\tbare = false\n", 0o644)
        setup = Setup()
        setup.project = host.dir("project")
        return setup

    def inside(self) -> None:
        for name in PLANTED:
            try:
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(name).write_text("#!/bin/sh\necho owned\n")
                Path(name).chmod(0o755)
            except OSError as error:
                print(name, error)
        try:
            Path(".git/config").write_text("[core]\n\tfsmonitor = owned\n")
        except OSError as error:
            print(error)
        Path("honest.txt").write_text("honest")

    def escaped(self, host: Host, ran: Ran) -> str | None:
        project = host.folder / "project"
        assert (project / "honest.txt").exists(), ran
        found = [name for name in PLANTED if (project / name).exists()]
        if "owned" in (project / ".git/config").read_text():
            found.append(".git/config")
        return ", ".join(found) or None

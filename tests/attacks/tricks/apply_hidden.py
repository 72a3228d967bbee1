"""Files that the program may not see, overwritten by apply; names that shells and other file systems misread"""

from pathlib import Path

from attack import Host, Ran, Setup
from attack import Trick as Base

NAMES = (".env", ".ssh/authorized_keys", "id_rsa", ".ENV", ".Git/hooks/post-merge", ".wflo/runs.db", "sub/.netrc")


class Trick(Base):
    area = "apply"

    def prepare(self, host: Host) -> Setup:
        host.file("project/.env", "KEY=mine", 0o644)
        setup = Setup()
        setup.project = host.dir("project")
        return setup

    def inside(self) -> None:
        for name in (*NAMES, "~", "-rf", "a\nb", "..."):
            try:
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(name).write_text("owned")
            except OSError as error:
                print(name, error)
        Path("honest.txt").write_text("honest")

    def escaped(self, host: Host, ran: Ran) -> str | None:
        project = host.folder / "project"
        assert (project / "honest.txt").exists(), ran
        found = [name for name in NAMES if (project / name).is_file() and (project / name).read_bytes() == b"owned"]
        return ", ".join(found) or None

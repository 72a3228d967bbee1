"""Terminal commands in names, in contents and in output, shown by `wflo run`, `runs show`, `diff` and `apply`"""

from pathlib import Path

from attack import Host, Ran, Setup
from attack import Trick as Base

TITLE = "\x1b]0;owned\x07"
CLEAR = "\x1b[2J"


class Trick(Base):
    area = "terminal"

    def prepare(self, host: Host) -> Setup:
        host.file("project/text.txt", "before\n", 0o644)
        setup = Setup()
        setup.project = host.dir("project")
        return setup

    def inside(self) -> None:
        Path("text.txt").write_text(f"{TITLE}{CLEAR}after\u202e\n")
        Path(f"name-{TITLE}.txt").write_text("x\n")
        print(TITLE, CLEAR, flush=True)

    def escaped(self, host: Host, ran: Ran) -> str | None:
        return "as they are" if TITLE in ran.output or CLEAR in ran.output else None

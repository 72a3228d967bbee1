"""Terminal commands in an error, shown by `wflo run` and `runs show`"""

from attack import Host, Ran, Setup
from attack import Trick as Base

TITLE = "\x1b]0;owned\x07"


class Owned(Exception):
    """What the step ends with."""


class Trick(Base):
    area = "terminal"

    def prepare(self, host: Host) -> Setup:
        setup = Setup()
        setup.project = host.dir("project")
        return setup

    def inside(self) -> None:
        raise Owned(f"{TITLE}\r\x1b[1A\x1b[2Kall is well")

    def escaped(self, host: Host, ran: Ran) -> str | None:
        return "as they are" if TITLE in ran.output or "\x1b[1A\x1b[2Kall" in ran.output else None

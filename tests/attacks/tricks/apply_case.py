"""Names that are .git to a file system which folds case, drops characters or knows short names"""

import contextlib
from pathlib import Path

from attack import Host, Ran, Setup
from attack import Trick as Base

NAMES = (
    ".GIT/hooks/post-checkout", ".gIt/config", "git~1/hooks/post-checkout", ".git /hooks/post-checkout",
    ".git./config", ".g\u200cit/hooks/post-checkout", ".git::$INDEX_ALLOCATION/hooks/post-checkout",
    ".ENV", "sub/.Env.local", "ID_RSA", "Keys/Server.KEY",
    ".g\u00adit/hooks/post-checkout", ".gi\ufe0ft/config", ".e\u200cnv", "id_r\u017fa", "Make\ufb01le", ".wf\u2060lo/wflo.db",
)  # fmt: skip


class Trick(Base):
    area = "apply"

    def prepare(self, host: Host) -> Setup:
        host.file("project/.git/HEAD", "ref: refs/heads/main\n", 0o644)
        setup = Setup()
        setup.project = host.dir("project")
        return setup

    def inside(self) -> None:
        for name in NAMES:
            with contextlib.suppress(OSError):
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                Path(name).write_text("owned\n")
        # Two that are one where case is folded: the second must not go over the first.
        Path("Readme.txt").write_text("honest")
        Path("README.TXT").write_text("honest, too")
        Path("honest.txt").write_text("honest")

    def escaped(self, host: Host, ran: Ran) -> str | None:
        project = host.folder / "project"
        assert (project / "honest.txt").exists(), ran
        found = [name for name in NAMES if (project / name).exists()]
        return ", ".join(found) or None

"""The files of the repository, as Git sees them: tracked, or new and not ignored."""

import subprocess
from pathlib import Path


def files(root: Path) -> list[Path]:
    """Every file that is or would be committed, relative to `root`, sorted."""
    out = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
    ).stdout
    paths = {Path(p) for p in out.decode().split("\0") if p}
    return sorted(p for p in paths if (root / p).is_file())

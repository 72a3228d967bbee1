"""Run the checks that no compiler or linter does: `make check` ends here.

Each check is a module of `scripts/checks` with `check(root) -> list[str]`, one line a finding,
each written as `place: what is wrong and what to do`. Exit 1 when there is a finding.
Standard library only.
"""

import sys
import time
from pathlib import Path

from checks import crate_map, error_pages, file_sizes, links, named_tests

CHECKS = [crate_map, error_pages, file_sizes, links, named_tests]


def main() -> int:
    root = Path(__file__).resolve().parent.parent
    failed = 0
    for module in CHECKS:
        name = module.__name__.rsplit(".", 1)[-1].replace("_", " ")
        start = time.monotonic()
        findings = module.check(root)
        took = (time.monotonic() - start) * 1000
        print(f"{name}: {'ok' if not findings else f'{len(findings)} findings'} ({took:.0f} ms)")
        for finding in findings:
            print(f"  {finding}")
        failed += len(findings)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

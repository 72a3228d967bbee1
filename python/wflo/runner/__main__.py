"""`python -m wflo.runner`."""

from wflo.runner import main

main()

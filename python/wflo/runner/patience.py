"""When replay stops waiting for the next recorded answer to be asked for.

Owns the clocks of that decision and nothing else. Replay gives answers out in recorded order; when
the step is idle and has not asked for the next one, either something in the process will still lead
to it (a thread, a descriptor, a timer), or it will never be asked for.
"""

from __future__ import annotations

import time

GRACE_SECONDS = 2.0
"""How long an effect may be without an answer before it counts as new. An engine answers recorded
effects at once, and may say `effect_pending` for the others."""

CALM_SECONDS = 0.02
"""How long all other threads must have been quiet before nothing more is expected of them."""

PATIENCE_SECONDS = 10.0
"""How long replay waits for a thread or a descriptor that goes on by itself."""

SURE_SECONDS = 600.0
"""How long it waits where the journal says that something is still to be asked for first."""

MOST_SKIPS, MOST_SURE_SKIPS = 1000, 100_000
"""How many timers in a row replay skips to without an effect being asked for."""

_monotonic = time.monotonic


class Patience:
    """How long nothing has come of waiting."""

    def __init__(self) -> None:
        self._stuck_since: float | None = None
        self._quiet_since: float | None = None
        self._skipped = 0
        self._sure = False

    def progress(self) -> None:
        """Begins anew: an effect was asked for, or an answer was given out."""
        self._stuck_since, self._quiet_since, self._skipped = None, None, 0

    def expects(self, *, quiet: bool, threads: bool, unanswered: bool, sure: bool) -> bool:
        """Whether the next recorded answer may still be asked for, or may still arrive.

        `quiet` says that nothing in this process goes on by itself, `threads` that there are other
        threads, `unanswered` that an effect has no answer and is not known to run anew, `sure` that
        the step did something here the first time before it got any further answer.
        """
        self._sure = sure
        now = _monotonic()
        if self._stuck_since is None:
            self._stuck_since = now
        waited = now - self._stuck_since
        if not quiet:
            self._quiet_since = None
            return waited < self._limit
        if self._quiet_since is None:
            self._quiet_since = now
        if threads and now - self._quiet_since < CALM_SECONDS:
            return True
        return unanswered and waited < GRACE_SECONDS

    def skip(self) -> bool:
        """Counts a timer that is skipped to; false when it has been too many (a heartbeat)."""
        self._skipped += 1
        return not self._skipped_enough

    @property
    def _limit(self) -> float:
        return SURE_SECONDS if self._sure else PATIENCE_SECONDS

    @property
    def _skipped_enough(self) -> bool:
        return self._skipped > (MOST_SURE_SKIPS if self._sure else MOST_SKIPS)

    @property
    def over(self) -> bool:
        """Whether replay has waited too long, whatever else goes on."""
        waited = 0.0 if self._stuck_since is None else _monotonic() - self._stuck_since
        return self._skipped_enough or waited >= self._limit

"""Where a fetch begins: at the front, or where the last one found something.

While a transaction is held open somewhere, the rows of jobs that are done cannot be cleaned away,
and each fetch from the front walks over all of them. After two that took long, the next begins
further on as a trial. If that was much quicker, such fetches are the rule, and the front is looked
at now and then: the longer its walk takes, the more rarely.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

SLOW = 0.002
"""Seconds that a fetch from the front takes before a trial is worth it."""

EACH = 0.00003
"""Seconds that each job which was found may take besides."""

TRIAL_REST = 1.0
"""Seconds until the next trial after one that was no quicker."""

REST = 50
"""How many times as long as its walk the front is left alone."""

SHORTEST_REST = 0.5
LONGEST_REST = 5.0
"""Seconds within which jobs are looked for at the front again."""

Place: TypeAlias = "tuple[int, datetime]"
"""The priority and run_at of a job."""


class FetchStart:
    """Is told of each fetch; its moments are those of one monotonic clock."""

    def __init__(self) -> None:
        self._further: Place | None = None
        self._due = 0.0
        self._last = 0.0
        self._front = 0.0
        self._quickest: float | None = None
        self._is_trial = False
        self._next_trial = 0.0
        self.front_due: float | None = None
        """When the front should be looked at, if there may be jobs that the last fetch passed."""

    def place(self, now: float) -> Place | None:
        """Return where to begin; None stands for the front."""
        return self._further if now < self._due else None

    def hurry(self) -> None:
        """Begin at the front next time."""
        self._due = 0.0

    def saw(
        self, place: Place | None, jobs: int, first: Place | None, *,
        begun: float, ended: float, is_full: bool,
    ) -> None:  # fmt: skip
        """Hear of a fetch that began at a place and found so many jobs."""
        self._further = first or self._further
        seconds = max(0.0, ended - begun - EACH * jobs)
        if place is None:
            self._saw_front(seconds, ended, has_jobs=jobs > 0)
            self.front_due = None
        else:
            self._saw_further(seconds, ended)
            self.front_due = None if is_full else self._due

    def _saw_front(self, seconds: float, ended: float, *, has_jobs: bool) -> None:
        quickest, self._quickest = self._quickest, None
        self._front, self._last = min(seconds, self._last), seconds  # one may be slow by chance
        self._is_trial = False
        self._due = ended
        if self._front < SLOW:
            return
        if quickest is not None:
            self._rest(quickest, ended)
        elif has_jobs and ended >= self._next_trial:
            self._is_trial = True
            self._due = ended + SHORTEST_REST

    def _saw_further(self, seconds: float, ended: float) -> None:
        self._quickest = seconds if self._quickest is None else min(seconds, self._quickest)
        if self._is_trial:
            self._is_trial = False
            self._rest(seconds, ended)

    def _rest(self, quickest: float, ended: float) -> None:
        """Leave the front alone, if most of what it took was the walk."""
        walk = self._front - quickest
        if walk > quickest:
            self._due = ended + min(LONGEST_REST, max(SHORTEST_REST, REST * walk))
        else:
            self._due = ended
            self._quickest = None
            self._next_trial = ended + TRIAL_REST

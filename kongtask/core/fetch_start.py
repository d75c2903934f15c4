"""Where a fetch begins: at the front, or where the last ones found something.

While a transaction is held open somewhere, the rows of jobs that are done cannot be cleaned away,
and each fetch from the front walks over all of them. After two that took long, the next begins
further on as a trial: within each priority where jobs of it were found last. If that was much
quicker, such fetches are the rule. They pass only jobs that are due earlier than others already
taken: such as a long transaction added, or as were given back. So one fetch a second begins some
way back, and now and then one begins at the front: the longer its walk, the more rarely.

Where the walk is one over jobs of earlier priorities which only others take, the next trial
leaves out priorities before the first that was found; then jobs of those wait as well.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from enum import Enum
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from kongtask.core.job import Job

SLOW = 0.002
"""Seconds that a fetch from the front takes before a trial is worth it."""

EACH = 0.00005
"""Seconds that each job which was found may take besides, at most: 35 µs on a slow machine."""

ENOUGH = 200
"""Jobs from which on a fetch tells how long each of them takes."""

EACH_MORE = 1.25
"""How much longer each may take than where it was quickest."""

EACH_GROWS = 1.003
"""How much more with each such fetch, so that a machine that became slower is learned again."""

TRIAL_REST = 1.0
"""Seconds until the next trial after one that was no quicker."""

REST = 200
"""How many times as long as its walk the front is left alone."""

SHORTEST_REST = 0.5
LONGEST_REST = 30.0
LONGEST_NARROW_REST = 5.0
"""Seconds within which jobs are looked for at the front again."""

BACK = timedelta(seconds=10)
BACK_REST = 1.0
"""How far back one fetch in so many seconds begins."""

FIRST_PRIORITY = -32768
LAST_PRIORITY = 32767

MOST_PRIORITIES = 100
"""Priorities to remember; with more, all are forgotten and found again."""


class Range(NamedTuple):
    """Priorities to look through: from `since` on in the first one, None for all of it."""

    first: int
    since: datetime | None
    last: int


FRONT = (Range(FIRST_PRIORITY, None, LAST_PRIORITY),)


def firsts(jobs: Sequence[Job]) -> Iterator[Job]:
    """Yield the first job of each priority, asking few of the jobs: most are unread rows yet."""
    at = 0
    while at < len(jobs):
        yield jobs[at]
        at = bisect_right(jobs, jobs[at].priority, at, key=attrgetter("priority"))


class _Begin(Enum):
    FRONT = 0
    BACK = 1
    FURTHER = 2


class FetchStart:
    """Is asked before each fetch and told after it; moments are those of one monotonic clock."""

    def __init__(self) -> None:
        self._places: dict[int, datetime] = {}
        self._begin = _Begin.FRONT
        self._due = 0.0
        self._back_due = 0.0
        self._last = 0.0
        self._front = 0.0
        self._each = EACH
        self._quickest: float | None = None
        self._is_narrow = False
        self._is_trial = False
        self._next_trial = 0.0
        self.next_look: float | None = None
        """When to look for jobs that the last fetch may have passed."""

    def ranges(self, now: float) -> Sequence[Range]:
        """Return where the next fetch looks for jobs."""
        if now >= self._due or not self._places:
            self._begin = _Begin.FRONT
            return FRONT
        if now < self._back_due or self._is_trial:
            self._begin = _Begin.FURTHER
            return self._from_places(timedelta())
        self._begin = _Begin.BACK
        self._back_due = now + BACK_REST
        return self._from_places(BACK)

    def _from_places(self, back: timedelta) -> Sequence[Range]:
        known = sorted(self._places)
        ends = [after - 1 for _, after in pairwise(known)] + [LAST_PRIORITY]
        found = [
            Range(each, self._places[each] - back, end)
            for each, end in zip(known, ends, strict=True)
        ]
        if self._is_narrow or known[0] == FIRST_PRIORITY:
            return found
        return [Range(FIRST_PRIORITY, None, known[0] - 1), *found]

    def hurry(self) -> None:
        """Begin at the front next time."""
        self._due = 0.0

    def saw(self, jobs: Sequence[Job], *, begun: float, ended: float, is_full: bool) -> None:
        """Hear of the jobs, in order, that the fetch found."""
        seconds = max(0.0, ended - begun - self._of_jobs(len(jobs), ended - begun))
        if self._begin is _Begin.FRONT:
            if seconds >= SLOW:
                self._remember(jobs)
            self._saw_front(seconds, ended, has_jobs=bool(jobs))
            self.next_look = None
            return
        self.next_look = None if is_full else self._due
        if self._begin is _Begin.FURTHER:
            self._remember(jobs)
            self._saw_further(seconds, ended)
            self.next_look = None if is_full else min(self._due, self._back_due)

    def _of_jobs(self, jobs: int, seconds: float) -> float:
        """Return what of a fetch goes into its jobs, and learn from it.

        That is less than half of the most on a fast machine, and a walk could hide in the rest.
        """
        if jobs >= ENOUGH:
            self._each = min(EACH, self._each * EACH_GROWS, EACH_MORE * seconds / jobs)
        return self._each * jobs

    def _remember(self, jobs: Sequence[Job]) -> None:
        self._places.update({job.priority: job.run_at for job in firsts(jobs)})
        if len(self._places) > MOST_PRIORITIES:
            self._places.clear()

    def _saw_front(self, seconds: float, ended: float, *, has_jobs: bool) -> None:
        quickest, self._quickest = self._quickest, None
        self._front, self._last = min(seconds, self._last), seconds  # one may be slow by chance
        self._is_trial = False
        self._due = ended
        if self._front < SLOW:
            self._is_narrow = False
        elif quickest is not None:
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
        if quickest >= SLOW:
            self._is_narrow = not self._is_narrow
        if walk > quickest:
            longest = LONGEST_NARROW_REST if self._is_narrow else LONGEST_REST
            self._due = ended + min(longest, max(SHORTEST_REST, REST * walk))
        else:
            self._due = ended
            self._quickest = None
            self._next_trial = ended + TRIAL_REST

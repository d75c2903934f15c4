"""How many jobs to fetch at once, from how fast they have been finishing.

Slow jobs are fetched one for each free place, so that no pool of workers sits on a job which
another could run. Fast ones are fetched ahead, so that one statement brings many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LOOK_AHEAD = 0.2
"""Seconds of work that may lie fetched and not started."""

MOST_AHEAD = 4000
"""Jobs that may lie fetched and not started, however fast they are."""

LONGEST_WAIT = 2.0
"""Seconds after which a job that was fetched and not started is given back."""

_MEMORY = 0.2
"""Seconds of the past that count most: two thirds of a pace come from them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast jobs finish: `rate` in jobs a second, as of the monotonic moment `at`."""

    rate: float = 0.0
    at: float = 0.0


def observed(pace: Pace, finished: int, now: float) -> Pace:
    """Return the pace after so many jobs finished since it was last looked at.

    >>> round(observed(Pace(rate=0.0, at=0.0), 1000, 1.0).rate)
    993
    """
    elapsed = now - pace.at
    if elapsed <= 0:
        return pace
    weight = 1 - math.exp(-elapsed / _MEMORY)
    return Pace(rate=pace.rate + weight * (finished / elapsed - pace.rate), at=now)


def look_ahead(pace: Pace) -> int:
    """Return how many jobs may lie fetched and not started.

    >>> look_ahead(Pace(rate=2.0)), look_ahead(Pace(rate=1000.0)), look_ahead(Pace(rate=1e6))
    (0, 200, 4000)
    """
    return min(MOST_AHEAD, int(pace.rate * LOOK_AHEAD))


def fetch_size(*, concurrency: int, running: int, waiting: int, ahead: int) -> int:
    """Return how many jobs to fetch now; 0 while fetching so few is not worth a statement.

    Two fifths of what may lie ahead are: so after a fetch of a half the next one follows at once,
    and where PostgreSQL is slower than the handlers it never waits for them.

    >>> fetch_size(concurrency=10, running=8, waiting=0, ahead=0)
    2
    >>> fetch_size(concurrency=10, running=10, waiting=90, ahead=100)
    0
    """
    room = concurrency + ahead - running - waiting
    has_idle = running + waiting < concurrency
    return max(0, room) if has_idle or room > ahead * 2 // 5 else 0

"""What measured numbers mean: sentences about what limits a queue, and what would help.

It measures nothing. Each rule looks at one matter and has one sentence for each way it may stand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FAR = 2.0
"""Milliseconds of a round trip from which on the network is worth a word."""

SLOW_FLUSH = 1.0
"""Milliseconds that a commit waits, beyond its round trip, from which on they count."""

CHEAPER = 3.0
"""How many times as fast adding in bulk must be to be worth a word."""

BUSY = 0.7
"""Share of the time in which Python worked from which on it is what limits."""

SLACK = 25.0
"""Milliseconds that a job may start later than the database explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured on one database, by one process.

    round_trip_ms, commit_ms, start_ms: medians of many; start_ms from the call that adds a job to
    the start of its handler, when nothing else is to do. start_p99_ms: what 99 of 100 stay below.
    adds_per_second: one by one, on one connection after the other. bulk_adds_per_second: many in
    one call. drained_per_second: jobs that do nothing, by one process. busy: the share of that
    time in which the process worked, rather than waited. fsync, synchronous_commit: the server's
    settings.
    """

    round_trip_ms: float
    commit_ms: float
    adds_per_second: float
    bulk_adds_per_second: float
    drained: int
    drained_per_second: float
    busy: float
    start_ms: float
    start_p99_ms: float
    fsync: bool
    synchronous_commit: str

    @property
    def flush_ms(self) -> float:
        """What a commit takes beyond its round trip: the disk, or a standby."""
        return max(0.0, self.commit_ms - self.round_trip_ms)


def judgement(measured: Measured) -> tuple[str, ...]:
    """Return what the numbers mean, a sentence or two for each matter."""
    return tuple(rule(measured) for rule in _RULES)


def _distance(measured: Measured) -> str:
    took = f"A round trip takes {milliseconds(measured.round_trip_ms)}"
    if measured.round_trip_ms < FAR:
        return f"{took}: the database is near."
    return (
        f"{took}: the database is far away, and every statement waits for that. Run workers, and "
        "what adds jobs, closer to it."
    )


def _commit(measured: Measured) -> str:
    flush = milliseconds(measured.flush_ms)
    if not measured.fsync:
        return (
            "fsync is off: nothing waits for the disk, and a power cut may destroy the database. "
            "A safe server is slower than these numbers."
        )
    if measured.synchronous_commit == "off":
        return (
            "synchronous_commit is off: no commit waits for the disk, and a crash of the server "
            "may undo what was done in its last moments."
        )
    if measured.flush_ms < SLOW_FLUSH:
        return f"A commit waits {flush} for the disk: that limits nothing."
    return (
        f"Each commit waits {flush} for the disk or a standby, so that who adds jobs one after the "
        f"other adds at most {rate(1000 / measured.commit_ms)}. A disk with a faster fsync would "
        "help, and so would synchronous_commit = off for this role, if the last moments before a "
        "crash of the server may be lost."
    )


def _adding(measured: Measured) -> str:
    single, bulk = measured.adds_per_second, measured.bulk_adds_per_second
    took = milliseconds(1000 / single)
    if bulk < CHEAPER * single:
        return f"Adding a job takes {took}, and many in one call are hardly faster each."
    return (
        f"Adding a job takes {took}, foremost for {_foremost(measured, 1000 / single)}. Many in "
        f"one call are {bulk / single:.0f} times as fast: use add_jobs where there are many."
    )


def _draining(measured: Measured) -> str:
    share = f"{measured.busy:.0%} of the time"
    ran = f"One process runs {rate(measured.drained_per_second)} that do nothing"
    if measured.busy >= BUSY:
        return (
            f"{ran}, and is at work {share}: Python is what limits. `kongtask worker --processes` "
            "uses more cores, where there are some."
        )
    return (
        f"{ran}, and is at work {share}: it waits for the database. More jobs at a time "
        "(`--concurrency`) and more processes wait together, as far as the database has power to "
        "spare."
    )


def _starting(measured: Measured) -> str:
    took = f"A job starts {milliseconds(measured.start_ms)} after it was added"
    explained = 2 * (measured.round_trip_ms + measured.commit_ms)
    if measured.start_ms <= explained + SLACK:
        return f"{took}, by notification: that is what adding it and fetching it take."
    return (
        f"{took}, which is more than adding and fetching explain ({milliseconds(explained)}): "
        "notifications arrive late or not at all. A pooler in between, or a busy server, does that."
    )


def _foremost(measured: Measured, took_ms: float) -> str:
    """Return what most of one call's time goes to; a pool's connection costs a second trip."""
    way = 2 * measured.round_trip_ms
    parts = {
        "the way to the database and back": way,
        "the disk": measured.flush_ms,
        "the database's own work": took_ms - way - measured.flush_ms,
    }
    return max(parts, key=lambda part: parts[part])


_RULES: tuple[Callable[[Measured], str], ...] = (
    _distance, _commit, _adding, _draining, _starting,
)  # fmt: skip


def milliseconds(value: float) -> str:
    """Write a duration with as many digits as it deserves.

    >>> milliseconds(0.2149), milliseconds(4.13), milliseconds(123.4)
    ('0.21 ms', '4.1 ms', '123 ms')
    """
    digits = 2 if value < 1 else 1 if value < 100 else 0
    return f"{value:.{digits}f} ms"


def rate(value: float) -> str:
    """Write a number of jobs a second.

    >>> rate(242.4), rate(25123.0)
    ('242 jobs/s', '25,123 jobs/s')
    """
    return f"{value:,.0f} jobs/s"

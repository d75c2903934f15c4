"""The documented rules of the job table, as plain Python: what a row is after each call.

It knows no SQL. A moment that only the database can know is a span that it must lie in; once seen,
the row's own moment takes its place.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

DEFAULT_ATTEMPTS = 25
BY_HAND = "Manually marked as failed"


@dataclass(frozen=True, slots=True)
class Span:
    """Some moment between two, both included."""

    low: datetime
    high: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.low <= moment <= self.high

    def __add__(self, delay: timedelta) -> Span:
        return Span(self.low + delay, self.high + delay)


Moment = datetime | Span


@dataclass(slots=True, kw_only=True)
class Row:
    """A job; `is_stale` says that it has been locked for more than four hours."""

    id: int
    payload: Any
    queue: str | None
    run_at: Moment
    updated_at: Moment
    max_attempts: int
    priority: int
    flags: tuple[str, ...]
    key: str | None
    attempts: int = 0
    last_error: str | None = None
    revision: int = 0
    locked_by: str | None = None
    is_stale: bool = False

    @property
    def is_available(self) -> bool:
        return self.locked_by is None and self.attempts < self.max_attempts

    @property
    def is_free(self) -> bool:
        """Whether hands may touch it."""
        return self.locked_by is None or self.is_stale

    def unlock(self) -> None:
        self.locked_by, self.is_stale = None, False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A job as somebody adds it."""

    payload: Any
    queue: str | None
    run_at: datetime | None
    max_attempts: int | None
    priority: int | None
    flags: tuple[str, ...]
    key: str | None
    mode: str | None


@dataclass
class JobModel:
    """All rows of a schema by id, and who holds which queue."""

    rows: dict[int, Row] = field(default_factory=dict)
    queues: dict[str, str | None] = field(default_factory=dict)

    def with_key(self, key: str | None) -> Row | None:
        found = (row for row in self.rows.values() if key is not None and row.key == key)
        return next(found, None)

    # Adding

    def add(self, wanted: Wanted, new_id: int, now: Span) -> int:
        """Add a job and return the id that it must have: `new_id` if it is a row of its own."""
        if wanted.queue is not None:
            self.queues.setdefault(wanted.queue, None)
        old = self.with_key(wanted.key)
        if old is not None and wanted.mode == "unsafe_dedupe":
            old.revision, old.updated_at = old.revision + 1, now
            return old.id
        if old is not None and old.is_available:
            self._replace(old, wanted, now)
            return old.id
        if old is not None:
            old.key, old.attempts, old.updated_at = None, old.max_attempts, now
        self.rows[new_id] = Row(
            id=new_id, key=wanted.key, run_at=wanted.run_at or now, updated_at=now,
            payload=wanted.payload, **_options(wanted),
        )  # fmt: skip
        return new_id

    def _replace(self, old: Row, wanted: Wanted, now: Span) -> None:
        if wanted.mode != "preserve_run_at" or old.attempts > 0:
            old.run_at = wanted.run_at or now
        merged = isinstance(old.payload, list) and isinstance(wanted.payload, list)
        old.payload = old.payload + wanted.payload if merged else wanted.payload
        for name, value in _options(wanted).items():
            setattr(old, name, value)
        old.attempts, old.last_error = 0, None
        old.revision, old.updated_at = old.revision + 1, now

    def remove(self, key: str, now: Span) -> int | None:
        row = self.with_key(key)
        if row is None:
            return None
        if row.is_free:
            del self.rows[row.id]
        else:
            row.key, row.attempts, row.updated_at = None, row.max_attempts, now
        return row.id

    # Running

    def due(self, now: datetime, forbidden: Collection[str]) -> list[Row]:
        """Return what a fetch may take, in the order of its wishes; equal rows in any order."""
        rows = [
            row
            for row in self.rows.values()
            if row.is_available
            and isinstance(row.run_at, datetime)
            and row.run_at <= now
            and (row.queue is None or self.queues[row.queue] is None)
            and not set(row.flags) & set(forbidden)
        ]
        return sorted(rows, key=lambda row: (row.priority, row.run_at, row.id))

    def take(self, ids: Collection[int], pool: str) -> None:
        for row in (self.rows[job_id] for job_id in ids):
            row.locked_by, row.attempts = pool, row.attempts + 1
            if row.queue is not None:
                self.queues[row.queue] = pool

    def held(self, ids: Collection[int], pool: str) -> list[Row]:
        return [row for row in self.rows.values() if row.id in set(ids) and row.locked_by == pool]

    def complete(self, ids: Collection[int], pool: str) -> set[int]:
        return {self._let_go(row, pool, gone=True) for row in self.held(ids, pool)}

    def fail(
        self,
        job_id: int,
        pool: str,
        now: Span,
        *,
        error: str,
        when: Moment | None,
        is_final: bool,
        payload: Any,
    ) -> set[int]:
        for row in self.held([job_id], pool):
            row.run_at = when or _backed_off(row, now)
            row.last_error = error
            if is_final:
                row.attempts = max(row.attempts, row.max_attempts)
            row.payload = row.payload if payload is None else payload
            return {self._let_go(row, pool)}
        return set()

    def give_back(self, ids: Collection[int], pool: str, when: Moment | None = None) -> set[int]:
        """Unlock with the attempt, put off if a time is given."""
        given = self.held(ids, pool)
        for row in given:
            row.attempts = max(0, row.attempts - 1)
            row.run_at = when or row.run_at
        return {self._let_go(row, pool) for row in given}

    def give_back_unheld(self, held: Collection[int], pool: str) -> set[int]:
        unheld = [row for row in self.rows.values() if row.locked_by == pool and row.id not in held]
        for row in unheld:
            row.attempts = max(0, row.attempts - 1)
            row.unlock()
        kept = {self.rows[job_id].queue for job_id in held if job_id in self.rows}
        for queue, holder in self.queues.items():
            if holder == pool and queue not in kept:
                self.queues[queue] = None
        return {row.id for row in unheld}

    def _let_go(self, row: Row, pool: str, *, gone: bool = False) -> int:
        row.unlock()
        if row.queue is not None and self.queues[row.queue] == pool:
            self.queues[row.queue] = None
        if gone:
            del self.rows[row.id]
        return row.id

    # Hands

    def free(self, ids: Collection[int]) -> Iterator[Row]:
        return (row for row in list(self.rows.values()) if row.id in set(ids) and row.is_free)

    def complete_by_hand(self, ids: Collection[int]) -> set[int]:
        done = {row.id for row in self.free(ids)}
        for job_id in done:
            del self.rows[job_id]
        return done

    def fail_by_hand(self, ids: Collection[int], reason: str | None, now: Span) -> set[int]:
        failed = list(self.free(ids))
        for row in failed:
            row.attempts, row.updated_at = row.max_attempts, now
            row.last_error = BY_HAND if reason is None else reason
        return {row.id for row in failed}

    def reschedule(self, ids: Collection[int], changes: dict[str, Any], now: Span) -> set[int]:
        moved = list(self.free(ids))
        for row in moved:
            row.updated_at = now
            for name, value in changes.items():
                if value is not None:
                    setattr(row, name, value)
        return {row.id for row in moved}

    def cancel(self, ids: Collection[int], reason: str, now: Span) -> set[int]:
        rows = [row for row in self.rows.values() if row.id in set(ids)]
        for row in rows:
            row.attempts, row.updated_at = max(row.attempts, row.max_attempts), now
            row.last_error = reason if row.locked_by is None else row.last_error
        return {row.id for row in rows}

    def force_unlock(self, pool: str) -> None:
        for row in self.rows.values():
            if row.locked_by == pool:
                row.unlock()
        self.queues = {
            name: None if holder == pool else holder for name, holder in self.queues.items()
        }


def _options(wanted: Wanted) -> dict[str, Any]:
    return {
        "queue": wanted.queue,
        "max_attempts": DEFAULT_ATTEMPTS if wanted.max_attempts is None else wanted.max_attempts,
        "priority": wanted.priority or 0,
        "flags": wanted.flags,
    }


def _backed_off(row: Row, now: Span) -> Span:
    delay = timedelta(seconds=math.exp(min(row.attempts, 10)))
    assert isinstance(row.run_at, datetime)
    low, high = max(now.low, row.run_at), max(now.high, row.run_at)
    grain = timedelta(microseconds=2)  # the database rounds
    return Span(low - grain, high + grain) + delay

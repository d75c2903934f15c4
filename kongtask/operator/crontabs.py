"""Follows the crontabs of pools: reads them, and tells which of their jobs are due.

A crontab that cannot be read changes nothing: the one before it is followed on. What was missed
stands in the database, so that another operator may go on where this one stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from kongtask.core.cron.crontab import CrontabError, parse_crontab
from kongtask.core.cron.item import ParsedCronItem
from kongtask.core.cron.schedule import (
    RESTART_GRACE,
    KnownCrontab,
    Tick,
    backfill_ticks,
    next_due,
    ticks_owed,
)
from kongtask.operator.model import CronState, Pool, PoolKey, Problem
from kongtask.postgres.crontabs import CrontabStore
from kongtask.postgres.queue_watcher import Session, single_connection_pool

TICKS_PER_PASS = 100
"""How many minutes are made up for in one pass, so that scaling does not wait for a long past."""

CLOSE = timedelta(seconds=2)
"""Within this two clocks count as showing the same."""

Items = tuple[ParsedCronItem, ...]


class Crontabs:
    """The crontabs that are followed, one a pool."""

    def __init__(self) -> None:
        self._valid: dict[PoolKey, tuple[str, Items]] = {}

    def forget(self, key: PoolKey) -> None:
        """Drop the crontab of a pool that is gone."""
        self._valid.pop(key, None)

    def read(self, pool: Pool) -> tuple[Items, Problem | None]:
        """Return the items to follow, and why they are not those of the spec if they are not."""
        text = pool.spec.crontab or ""
        known = self._valid.get(pool.key)
        if known is not None and known[0] == text:
            return known[1], None
        try:
            items = parse_crontab(text)
        except CrontabError as error:
            before = () if known is None else known[1]
            return before, Problem(reason="ParseError", message=str(error))
        self._valid[pool.key] = (text, items)
        return items, None

    def state(self, pool: Pool) -> CronState:
        """Return what the crontab says by itself, nothing due."""
        items, problem = self.read(pool)
        return CronState(entries=len(items), tasks=_tasks(items), problem=problem)

    async def observe(self, session: Session, pool: Pool, now: datetime) -> CronState:
        """Return what is due and what comes next; makes new items known to the database.

        The database's clock decides what is due. `next_at` is by the clock that showed `now`, as
        are all moments of the pool's status, so that waiting for it is right where that is wrong.
        """
        items, problem = self.read(pool)
        if not items:
            return CronState(problem=problem)
        store = _store(session, pool)
        known, clock = await store.known(), await store.now()
        unknown = [item.identifier for item in items if item.identifier not in known]
        if unknown:
            await store.register(unknown, clock)
        return CronState(
            entries=len(items),
            tasks=_tasks(items),
            due=_due(items, known, clock),
            next_at=_next_at(items, known, clock, now),
            problem=problem,
        )

    async def enqueue(self, session: Session, pool: Pool, ticks: Sequence[Tick]) -> None:
        """Add the jobs of these moments, the earliest first, each exactly once."""
        store = _store(session, pool)
        for tick in ticks:
            await store.enqueue(tick)


def _due(items: Items, known: Mapping[str, KnownCrontab], clock: datetime) -> tuple[Tick, ...]:
    owed = ticks_owed(items, known, clock)
    missed = backfill_ticks(items, known, clock - RESTART_GRACE)
    return tuple(sorted([*missed, *owed], key=lambda tick: tick.timestamp)[:TICKS_PER_PASS])


def _next_at(
    items: Items, known: Mapping[str, KnownCrontab], clock: datetime, now: datetime
) -> datetime | None:
    """Return when an item fires next, by the clock that shows `now` while the database's is such.

    What is not more than the time of a question and its answer does not count as wrong.
    """
    paused = {identifier for identifier, each in known.items() if each.paused}
    active = (item for item in items if item.identifier not in paused)
    next_at = next_due(active, clock)
    wrong = timedelta(seconds=round((now - clock).total_seconds()))
    return next_at if next_at is None or abs(wrong) <= CLOSE else next_at + wrong


def _tasks(items: Items) -> tuple[str, ...]:
    return tuple(sorted({item.task for item in items}))


def _store(session: Session, pool: Pool) -> CrontabStore:
    return CrontabStore(single_connection_pool(session), pool.spec.schema)

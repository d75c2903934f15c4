"""Adds recurring jobs to the queue, minute after minute, for as long as it runs.

Any number of runners may share a database: the store lets each firing happen once, and its clock
says when, whatever the machine's shows. A late minute is made up for, an early timer is set anew,
and after an error the runner goes on with the minute at which it stopped. It refuses to run jobs
and to read crontabs.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from kongtask.clock import Clock
from kongtask.core.cron.calendar import ONE_MINUTE, whole_minute
from kongtask.core.cron.item import ParsedCronItem
from kongtask.core.cron.schedule import CATCH_UP_LIMIT, Tick, backfill_ticks, ticks_due
from kongtask.errors import ConfigurationError, StoreUnavailable
from kongtask.postgres.crontabs import CrontabStore
from kongtask.worker.cron_clock import DatabaseClock
from kongtask.worker.options import WorkerPoolOptions

if TYPE_CHECKING:
    import asyncpg

FIRST_DELAY = 0.2
"""Seconds before the first attempt after an error; each further one waits half as long again."""

LONGEST_DELAY = 3.0
"""Seconds between attempts, before jitter, however many failed."""

REFUSALS = 10
"""How often the database may refuse a minute's jobs before that minute is given up."""

LAST_STATEMENT = 5.0
"""Seconds that a statement under way may still take after the runner was cancelled."""

_JUST_AFTER = 0.001
_log = logging.getLogger(__name__)

Emit = Callable[[str, object], None]
"""Receives the name of each event and its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CronStart:
    """`cron:starting` and `cron:started`: before and after registering and making up."""

    start: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CronBackfill:
    """`cron:backfill`: the items of a minute from before the start are about to be added."""

    timestamp: datetime
    items: tuple[ParsedCronItem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CronSchedule:
    """`cron:schedule`: the items that fire in a minute, also those another runner will win."""

    timestamp: datetime
    items: tuple[ParsedCronItem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CronScheduled:
    """`cron:scheduled`: the same after the statement; `enqueued` are the identifiers won here."""

    timestamp: datetime
    items: tuple[ParsedCronItem, ...]
    enqueued: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CronMistimed:
    """`cron:prematureTimer` and `cron:overdueTimer`: the timer rang in another minute."""

    current_timestamp: datetime
    expected_timestamp: datetime


async def run_crontab(pool: asyncpg.Pool[Any], options: WorkerPoolOptions) -> None:
    """Enqueue the recurring jobs of a pool of workers until cancelled."""
    store = CrontabStore(pool, options.schema)
    runner = CronRunner(store, options.cron_items, options.clock, emit=options.events.emit)
    await runner.run()


class CronRunner:
    """Enqueues the firings of its items; `items` is read at each minute, so that it may change."""

    def __init__(
        self,
        store: CrontabStore,
        items: Sequence[ParsedCronItem],
        clock: Clock,
        *,
        emit: Emit = lambda name, event: None,
    ) -> None:
        self._store = store
        self._items = items
        self._clock = clock
        self._database = DatabaseClock(store, clock)
        self._emit = emit
        self._expected: datetime | None = None
        self._attempted: datetime | None = None
        self._refusals: Counter[datetime] = Counter()

    async def run(self) -> None:
        """Register, make up for what was missed, then fire on the minute, until cancelled."""
        failures = 0
        while True:
            try:
                expected = await self._begin()
                while True:
                    expected = await self._minute(expected)
                    failures = 0
            except Exception as error:
                self._report(error)
                await self._clock.sleep(self._delay(failures))
                failures += 1

    async def _begin(self) -> datetime:
        """Register and backfill; return the minute to wait for."""
        await self._database.measure()
        now = self._database.now()
        start = now if self._expected is None else min(now, self._expected)
        self._expected = self._expected or _rounded_up(start)
        self._emit("cron:starting", CronStart(start=start))
        known = await self._store.known()
        items = tuple(self._items)
        await self._store.register({item.identifier for item in items} - known.keys(), start)
        # A long period of many items takes seconds to lay out: not on the event loop.
        for tick in await asyncio.to_thread(backfill_ticks, items, known, start):
            self._emit("cron:backfill", CronBackfill(timestamp=tick.timestamp, items=tick.items))
            await self._enqueue(tick)
        self._emit("cron:started", CronStart(start=start))
        return self._expected

    async def _minute(self, expected: datetime) -> datetime:
        """Wait for the minute and enqueue all that is due; return the minute to wait for next."""
        await self._database.keep_right()
        wait = (expected - self._database.now()).total_seconds() + _JUST_AFTER
        await self._clock.sleep(min(max(wait, _JUST_AFTER), 60 + _JUST_AFTER))
        current = whole_minute(self._database.now())
        mistimed = CronMistimed(current_timestamp=current, expected_timestamp=expected)
        if current < expected:
            self._emit("cron:prematureTimer", mistimed)
            return expected
        if current > expected:
            self._emit("cron:overdueTimer", mistimed)
        if current - expected > CATCH_UP_LIMIT:
            _log.warning(
                "cron: firings from %s on are %s late: making up for the last %s only",
                expected.isoformat(), current - expected, CATCH_UP_LIMIT,
            )  # fmt: skip
        for tick in ticks_due(tuple(self._items), expected - ONE_MINUTE, current):
            await self._fire(tick)
        return self._done(current)

    async def _fire(self, tick: Tick) -> None:
        self._expected = tick.timestamp
        self._emit("cron:schedule", CronSchedule(timestamp=tick.timestamp, items=tick.items))
        enqueued = await self._enqueue(tick)
        self._done(tick.timestamp)
        self._emit(
            "cron:scheduled",
            CronScheduled(timestamp=tick.timestamp, items=tick.items, enqueued=enqueued),
        )

    async def _enqueue(self, tick: Tick) -> tuple[str, ...]:
        if self._refusals[tick.timestamp] >= REFUSALS:
            _log.error("cron: giving up the jobs of %s", tick.timestamp.isoformat())
            return ()
        self._attempted = tick.timestamp
        enqueued = await _finished(self._store.enqueue(tick))
        self._attempted = None
        return enqueued

    def _done(self, minute: datetime) -> datetime:
        self._expected = minute + ONE_MINUTE
        return self._expected

    def _report(self, error: Exception) -> None:
        """Log the failure, and count it when the database refused the jobs of a minute."""
        attempted, self._attempted = self._attempted, None
        if isinstance(error, (StoreUnavailable, ConfigurationError, OSError)):
            _log.error("cron: %s", error)
            return
        _log.error("cron: %s: %s", type(error).__name__, error, exc_info=error)
        if attempted is not None:
            self._refusals[attempted] += 1

    def _delay(self, failures: int) -> float:
        longest = min(LONGEST_DELAY, FIRST_DELAY * 1.5 ** min(failures, 50))
        return longest * self._clock.jitter(0.5, 1.5)


def _rounded_up(moment: datetime) -> datetime:
    minute = whole_minute(moment)
    return minute if minute == moment else minute + timedelta(minutes=1)


async def _finished(statement: Awaitable[tuple[str, ...]]) -> tuple[str, ...]:
    """Await the statement; when cancelled meanwhile, let it end first, so that no tick is lost."""
    task = asyncio.ensure_future(statement)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=LAST_STATEMENT)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise

"""The runner fires on the minute, once, whatever clocks, databases and other runners do."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from cron_hands import HandClock, MovedStore

from kongtask.core.cron.crontab import parse_crontab
from kongtask.core.cron.schedule import KnownCrontab, Tick
from kongtask.errors import InvalidJob, StoreUnavailable
from kongtask.postgres.crontabs import CrontabStore
from kongtask.postgres.statements import DEFAULT_SCHEMA
from kongtask.worker.cron import (
    REFUSALS,
    CronBackfill,
    CronMistimed,
    CronRunner,
    CronScheduled,
    CronStart,
)

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
EVERY_4_HOURS = parse_crontab("0 */4 * * * four_hourly")


class TroubledStore(MovedStore):
    """A store whose calls fail with the errors that are queued for them."""

    def __init__(self, pool: asyncpg.Pool[Any], schema: str) -> None:
        super().__init__(pool, schema)
        self.troubles: dict[str, list[Exception]] = {"known": [], "enqueue": [], "now_at": []}

    def _trouble(self, call: str) -> None:
        if self.troubles[call]:
            raise self.troubles[call].pop(0)

    async def now_at(self, monotonic: Callable[[], float]) -> tuple[datetime, float]:
        self._trouble("now_at")
        return await super().now_at(monotonic)

    async def known(self) -> dict[str, KnownCrontab]:
        self._trouble("known")
        return await super().known()

    async def enqueue(self, tick: Tick) -> tuple[str, ...]:
        self._trouble("enqueue")
        return await super().enqueue(tick)


@dataclass(kw_only=True)
class Scene:
    """A runner under way, its clock, and what it told."""

    clock: HandClock
    task: asyncio.Task[None]
    events: list[tuple[str, Any]] = field(default_factory=list)

    def told(self, *names: str) -> list[Any]:
        return [event for name, event in self.events if name in names]


@pytest.fixture
def store(pool: asyncpg.Pool[Any]) -> TroubledStore:
    return TroubledStore(pool, DEFAULT_SCHEMA)


@asynccontextmanager
async def running(
    store: MovedStore, items: Iterable[Any], now: datetime, wrong: timedelta = timedelta(0)
) -> AsyncIterator[Scene]:
    clock, events = HandClock(now, wrong), list[tuple[str, Any]]()
    store.clock = clock
    live = items if isinstance(items, list) else tuple(items)
    runner = CronRunner(store, live, clock, emit=lambda name, event: events.append((name, event)))
    task = asyncio.create_task(runner.run())
    try:
        await clock.until_asleep()
        yield Scene(clock=clock, task=task, events=events)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def payloads(pool: asyncpg.Pool[Any]) -> list[dict[str, Any]]:
    query = f"select payload::text from {DEFAULT_SCHEMA}._private_jobs order by run_at, id"
    return [json.loads(row["payload"])["_cron"] for row in await pool.fetch(query)]


async def run_ats(pool: asyncpg.Pool[Any]) -> list[datetime]:
    query = f"select run_at from {DEFAULT_SCHEMA}._private_jobs order by run_at, id"
    return [row["run_at"] for row in await pool.fetch(query)]


async def set_known(
    pool: asyncpg.Pool[Any], identifier: str, since: datetime, last: datetime | None = None
) -> None:
    await pool.execute(
        f"insert into {DEFAULT_SCHEMA}._private_known_crontabs values ($1, $2, $3)",
        identifier, since, last,
    )  # fmt: skip


async def test_a_new_identifier_is_registered_and_not_made_up_for(
    store: TroubledStore, pool: asyncpg.Pool[Any]
) -> None:
    items = parse_crontab("0 */4 * * * four_hourly ?fill=1d")
    async with running(store, items, NOON + SECOND) as scene:
        known = await store.known()
        start = CronStart(start=NOON + SECOND)
        assert scene.events == [("cron:starting", start), ("cron:started", start)]
    assert known == {"four_hourly": KnownCrontab(known_since=NOON + SECOND)}
    assert await run_ats(pool) == []


@pytest.mark.parametrize(
    "since, expected", [(5 * HOUR, 2), (25 * HOUR, 7)], ids=["5 hours away", "25 hours away"]
)
async def test_what_was_missed_within_the_period_is_made_up_for(
    store: TroubledStore, pool: asyncpg.Pool[Any], since: timedelta, expected: int
) -> None:
    now = NOON + SECOND
    await set_known(pool, "four_hourly", now - 10 * DAY, now - since)
    items = parse_crontab("0 */4 * * * four_hourly ?fill=25h")
    async with running(store, items, now) as scene:
        made_up = [event.timestamp for event in scene.told("cron:backfill")]
        assert all(isinstance(event, CronBackfill) for event in scene.told("cron:backfill"))
        assert scene.told("cron:schedule", "cron:scheduled") == []
    moments = [NOON - 4 * n * HOUR for n in reversed(range(expected))]
    assert await run_ats(pool) == made_up == moments
    assert (await store.known())["four_hourly"].last_execution == NOON


async def test_an_item_fires_on_its_minute(store: TroubledStore, pool: asyncpg.Pool[Any]) -> None:
    async with running(store, EVERY_4_HOURS, NOON - 2 * SECOND) as scene:
        assert await run_ats(pool) == []
        await scene.clock.move(NOON + SECOND)
        assert await run_ats(pool) == [NOON]
        (event,) = scene.told("cron:scheduled")
        assert event == CronScheduled(
            timestamp=NOON, items=EVERY_4_HOURS, enqueued=("four_hourly",)
        )
        assert [name for name, _ in scene.events[2:]] == ["cron:schedule", "cron:scheduled"]


async def test_a_start_exactly_on_the_minute_fires_in_it(
    store: TroubledStore, pool: asyncpg.Pool[Any]
) -> None:
    async with running(store, EVERY_4_HOURS, NOON) as scene:
        assert scene.clock.naps == [0.001]
        await scene.clock.move(NOON + SECOND)
    assert await run_ats(pool) == [NOON]


async def test_minutes_without_items_touch_nothing(
    store: TroubledStore, pool: asyncpg.Pool[Any]
) -> None:
    async with running(store, EVERY_4_HOURS, NOON + SECOND) as scene:
        for minute in range(1, 4):
            await scene.clock.move(NOON + minute * MINUTE + SECOND)
        assert len(scene.events) == 2
        assert scene.clock.naps == pytest.approx([59.001] * 4)


async def test_a_timer_that_rings_early_is_set_anew(
    store: TroubledStore, pool: asyncpg.Pool[Any]
) -> None:
    async with running(store, EVERY_4_HOURS, NOON - SECOND) as scene:
        for _ in range(3):
            await scene.clock.ring_early()
        early = CronMistimed(current_timestamp=NOON - MINUTE, expected_timestamp=NOON)
        assert scene.told("cron:prematureTimer") == [early] * 3
        assert await run_ats(pool) == []
        await scene.clock.move(NOON + SECOND)
        assert await run_ats(pool) == [NOON]


async def test_a_clock_that_goes_back_only_pauses(
    store: TroubledStore, pool: asyncpg.Pool[Any]
) -> None:
    async with running(store, EVERY_4_HOURS, NOON - SECOND) as scene:
        await scene.clock.move(NOON + SECOND)
        await scene.clock.move(NOON - 10 * MINUTE)
        await scene.clock.ring_early()
        assert max(scene.clock.naps) <= 60.001
        await scene.clock.move(NOON + 2 * SECOND)
        await scene.clock.move(NOON + 4 * HOUR + SECOND)
    assert await run_ats(pool) == [NOON, NOON + 4 * HOUR]


async def test_late_minutes_are_caught_up_without_any_period(
    store: TroubledStore, pool: asyncpg.Pool[Any]
) -> None:
    async with running(store, EVERY_4_HOURS, NOON - SECOND) as scene:
        late = NOON + 9 * HOUR + SECOND
        await scene.clock.move(late)
        assert scene.told("cron:overdueTimer") == [
            CronMistimed(current_timestamp=NOON + 9 * HOUR, expected_timestamp=NOON)
        ]
        assert scene.told("cron:backfill") == []
    assert await run_ats(pool) == [NOON, NOON + 4 * HOUR, NOON + 8 * HOUR]


async def test_more_than_a_day_is_not_caught_up(
    store: TroubledStore, pool: asyncpg.Pool[Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with running(store, EVERY_4_HOURS, NOON - SECOND) as scene:
        await scene.clock.move(NOON + 30 * DAY + SECOND)
    assert len(await run_ats(pool)) == 6
    assert "making up for the last 1 day, 0:00:00 only" in caplog.text


async def test_runners_beside_each_other_fire_once(
    store: TroubledStore, pool: asyncpg.Pool[Any]
) -> None:
    start = NOON - SECOND
    async with (
        running(store, EVERY_4_HOURS, start) as one,
        running(MovedStore(pool, DEFAULT_SCHEMA), EVERY_4_HOURS, start) as other,
    ):
        await asyncio.gather(*(each.clock.move(NOON + SECOND) for each in (one, other)))
        events = one.told("cron:scheduled") + other.told("cron:scheduled")
    assert sorted(event.enqueued for event in events) == [(), ("four_hourly",)]
    assert await run_ats(pool) == [NOON]


async def test_a_database_that_is_away_is_tried_again_more_and_more_slowly(
    store: TroubledStore, pool: asyncpg.Pool[Any], caplog: pytest.LogCaptureFixture
) -> None:
    store.troubles["known"] = [StoreUnavailable("gone")] * 20
    async with running(store, EVERY_4_HOURS, NOON - SECOND) as scene:
        for _ in range(20):
            await scene.clock.ring_early()
        naps = scene.clock.naps
        assert naps[:3] == pytest.approx([0.2, 0.3, 0.45])
        assert naps[19] == 3
        await scene.clock.move(NOON + SECOND)
    assert await run_ats(pool) == [NOON]
    assert caplog.messages == ["cron: gone"] * 20


async def test_a_firing_is_not_lost_by_an_outage(
    store: TroubledStore, pool: asyncpg.Pool[Any]
) -> None:
    items = parse_crontab("* * * * * a ?fill=1m\n0 12 * * * b")
    async with running(store, items, NOON - SECOND) as scene:
        store.troubles["enqueue"] = [StoreUnavailable("gone")]
        store.troubles["known"] = [StoreUnavailable("gone")]
        await scene.clock.move(NOON + SECOND)
        await scene.clock.move(NOON + 3 * MINUTE + SECOND)
        await scene.clock.ring_early()
        await scene.clock.ring_early()
        assert scene.told("cron:backfill") == []
    expected = [NOON, NOON, *(NOON + n * MINUTE for n in (1, 2, 3))]
    assert await run_ats(pool) == expected


async def test_a_minute_that_the_database_refuses_does_not_hold_up_the_next(
    store: TroubledStore, pool: asyncpg.Pool[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with running(store, parse_crontab("* * * * * a"), NOON - SECOND) as scene:
        store.troubles["enqueue"] = [InvalidJob("no")] * REFUSALS
        await scene.clock.move(NOON + SECOND)
        for _ in range(2 * REFUSALS):
            await scene.clock.ring_early()
        await scene.clock.move(NOON + MINUTE + SECOND)
        await scene.clock.ring_early()
    assert await run_ats(pool) == [NOON + MINUTE]
    assert f"giving up the jobs of {NOON.isoformat()}" in caplog.text


async def test_items_may_come_while_it_runs(store: TroubledStore, pool: asyncpg.Pool[Any]) -> None:
    items = list(EVERY_4_HOURS)
    async with running(store, items, NOON + SECOND) as scene:
        items.extend(parse_crontab("* * * * * later"))
        await scene.clock.move(NOON + MINUTE + SECOND)
    assert await run_ats(pool) == [NOON + MINUTE]


async def test_a_cancelled_runner_ends_and_finishes_its_statement(
    pool: asyncpg.Pool[Any],
) -> None:
    class SlowStore(MovedStore):
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def enqueue(self, tick: Tick) -> tuple[str, ...]:
            self.begun.set()
            await self.go_on.wait()
            return await super().enqueue(tick)

    clock, slow = HandClock(NOON - SECOND), SlowStore(pool, DEFAULT_SCHEMA)
    slow.clock = clock
    task = asyncio.create_task(CronRunner(slow, EVERY_4_HOURS, clock).run())
    await clock.until_asleep()
    moving = asyncio.create_task(clock.move(NOON + SECOND))
    await asyncio.wait_for(slow.begun.wait(), 10)
    task.cancel()
    slow.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    moving.cancel()
    await asyncio.gather(moving, return_exceptions=True)
    assert await run_ats(pool) == [NOON]


# The database's clock.


@pytest.mark.parametrize("wrong", [7 * MINUTE, -7 * MINUTE, 3 * DAY], ids=["fast", "slow", "days"])
async def test_a_machine_with_a_wrong_clock_fires_when_the_database_says(
    store: TroubledStore, pool: asyncpg.Pool[Any], wrong: timedelta
) -> None:
    async with running(store, EVERY_4_HOURS, NOON - 2 * SECOND, wrong) as scene:
        assert scene.clock.naps == pytest.approx([2.001])
        await scene.clock.move(NOON - timedelta(milliseconds=1))
        assert await run_ats(pool) == []
        await scene.clock.move(NOON + SECOND)
        assert await run_ats(pool) == [NOON]
        assert scene.told("cron:starting") == [CronStart(start=NOON - 2 * SECOND)]
    assert (await store.known())["four_hourly"] == KnownCrontab(
        known_since=NOON - 2 * SECOND, last_execution=NOON
    )


async def test_the_databases_clock_is_read_once_a_minute(
    store: TroubledStore, pool: asyncpg.Pool[Any]
) -> None:
    async with running(store, EVERY_4_HOURS, NOON + SECOND) as scene:
        for minute in range(1, 6):
            await scene.clock.move(NOON + minute * MINUTE + SECOND)
        for _ in range(5):
            await scene.clock.ring_early()
        assert store.readings == 6


async def test_a_database_whose_clock_is_put_right_is_followed(
    store: TroubledStore, pool: asyncpg.Pool[Any]
) -> None:
    store.ahead = -2 * MINUTE
    async with running(store, EVERY_4_HOURS, NOON - MINUTE + SECOND) as scene:
        await scene.clock.move(NOON + 2 * SECOND)
        assert await run_ats(pool) == []
        store.ahead = timedelta(0)
        await scene.clock.move(NOON + MINUTE + 2 * SECOND)
        await scene.clock.move(NOON + 2 * MINUTE + 2 * SECOND)
        assert await run_ats(pool) == [NOON]


async def test_a_clock_that_cannot_be_read_for_a_while_counts_on(
    store: TroubledStore, pool: asyncpg.Pool[Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with running(store, EVERY_4_HOURS, NOON - 3 * MINUTE + SECOND) as scene:
        store.troubles["now_at"] = [StoreUnavailable("gone")] * 3
        for minute in (-2, -1, 0):
            await scene.clock.move(NOON + minute * MINUTE + SECOND)
        assert store.troubles["now_at"] == []
    assert await run_ats(pool) == [NOON]
    assert caplog.messages == []


# What a job says of its firing.


async def test_a_job_added_in_its_minute_says_no_more_than_graphile_workers(
    store: TroubledStore, pool: asyncpg.Pool[Any]
) -> None:
    async with running(store, EVERY_4_HOURS, NOON - SECOND) as scene:
        await scene.clock.move(NOON + 59 * SECOND)
    assert await payloads(pool) == [{"ts": "2026-03-04T12:00:00.000Z", "backfilled": False}]


async def test_a_job_added_late_says_so(store: TroubledStore, pool: asyncpg.Pool[Any]) -> None:
    async with running(store, parse_crontab("* * * * * a"), NOON - SECOND) as scene:
        await scene.clock.move(NOON + MINUTE + SECOND)
    assert await payloads(pool) == [
        {"ts": "2026-03-04T12:00:00.000Z", "backfilled": False, "late": True},
        {"ts": "2026-03-04T12:01:00.000Z", "backfilled": False},
    ]


# Pausing.


async def test_a_paused_item_neither_fires_nor_is_made_up_for(
    store: TroubledStore, pool: asyncpg.Pool[Any]
) -> None:
    items = parse_crontab("* * * * * a ?fill=1d\n* * * * * b")
    await store.register(["a", "b"], NOON - HOUR)
    assert await store.pause("a")
    async with running(store, items, NOON - SECOND) as scene:
        await scene.clock.move(NOON + SECOND)
        assert [event.enqueued for event in scene.told("cron:scheduled")] == [("b",)]
        assert scene.told("cron:backfill") == []
        await scene.clock.move(NOON + 5 * MINUTE + SECOND)
    assert await run_ats(pool) == [NOON + n * MINUTE for n in range(6)]


async def test_a_resumed_item_goes_on_without_what_it_missed(
    store: TroubledStore, pool: asyncpg.Pool[Any]
) -> None:
    now = await CrontabStore(pool, DEFAULT_SCHEMA).now()
    minute = now.replace(second=0, microsecond=0)
    items = parse_crontab("* * * * * a ?fill=1h")
    await store.register(["a"], now - DAY)
    await store.pause("a")
    async with running(store, items, minute - 2 * MINUTE - SECOND) as scene:
        await scene.clock.move(minute - MINUTE + SECOND)
        await store.resume("a")
        await scene.clock.move(minute + 2 * MINUTE + SECOND)
    async with running(store, items, minute + 2 * MINUTE + 2 * SECOND):
        pass
    resumed = (await store.known())["a"]
    assert (resumed.paused, resumed.last_execution) == (False, minute + 2 * MINUTE)
    assert set(await run_ats(pool)) <= {minute + MINUTE, minute + 2 * MINUTE}
    assert minute + 2 * MINUTE in await run_ats(pool)

"""Who lives is believed; what the dead held is freed, once the observer can be sure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until
from worker_words import JOBS, POOLS, QUEUES, Lines, add, locked, rows

from kongtask import StoreUnavailable, TaskSpec, WorkerUtils
from kongtask.clock import Clock
from kongtask.postgres.jobs import JobStore, PoolIdentity
from kongtask.worker.heart import BEAT_PERIOD, SILENCE, Heart

Pool: TypeAlias = "asyncpg.Pool[Any]"
DEAD = "pool-dead"


class HandClock(Clock):
    """Seconds pass when the test says so."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.moved = asyncio.Condition()

    def monotonic(self) -> float:
        return self.passed

    def jitter(self, low: float = 0.5, high: float = 1.5) -> float:
        return 1.0

    async def sleep(self, seconds: float) -> None:
        due = self.passed + seconds
        async with self.moved:
            await self.moved.wait_for(lambda: self.passed >= due)

    async def move(self, seconds: float) -> None:
        async with self.moved:
            self.passed += seconds
            self.moved.notify_all()


class TroubledStore(JobStore):
    """A store whose beats fail with the errors that are queued for them."""

    def __init__(self, pool: Pool, pool_id: str) -> None:
        identity = PoolIdentity(pool_id=pool_id, host="here", concurrency=1, tasks=("t",))
        super().__init__(pool, "graphile_worker", identity)
        self.troubles: list[Exception] = []
        self.beats = 0

    async def beat(self, silence: timedelta | None) -> dict[str, int]:
        self.beats += 1
        if self.troubles:
            raise self.troubles.pop(0)
        return await super().beat(silence)


@asynccontextmanager
async def living(pool: Pool, pool_id: str) -> AsyncIterator[TroubledStore]:
    """A pool of workers that has announced itself."""
    store = TroubledStore(pool, pool_id)
    try:
        await store.register_tasks()
        await store.beat(None)
        yield store
    finally:
        await store.abandon()


@pytest.fixture
async def store(pool: Pool) -> AsyncIterator[TroubledStore]:
    async with living(pool, "pool-me") as store:
        store.beats = 0
        yield store


@pytest.fixture
async def dead(pool: Pool) -> AsyncIterator[TroubledStore]:
    """A pool that holds a job of a queue and has been silent for a minute."""
    await WorkerUtils(pool).add_job("t", spec=TaskSpec(queue_name="line"))
    async with living(pool, DEAD) as store:
        [_] = await store.fetch(1, [])
        await store.abandon()
        await pool.execute(
            f"update {POOLS} set heartbeat_at = now() - interval '1 minute' where pool_id = $1",
            DEAD,
        )
        yield store


def heart_of(store: JobStore, clock: Clock, lines: Lines, freed: list[int]) -> Heart:
    return Heart(store=store, logger=lines, clock=clock, on_freed=lambda: freed.append(1))


async def test_what_the_dead_held_is_freed_after_the_observer_has_been_steady(
    pool: Pool, store: TroubledStore, dead: TroubledStore
) -> None:
    clock, lines, freed = HandClock(), Lines(), list[int]()
    heart = heart_of(store, clock, lines, freed)
    await heart.beat()
    clock.passed = SILENCE.total_seconds() - 0.1
    await heart.beat()
    assert await locked(pool) == 2
    clock.passed += 0.1
    await heart.beat()

    assert (await locked(pool), freed) == (0, [1])
    assert lines.said(f"freed 1 jobs of {DEAD}, which has died")
    [row] = await rows(pool)
    assert (row["attempts"], row["last_error"]) == (
        1, f"The worker died while it ran this job ({DEAD})",
    )  # fmt: skip
    assert row["run_at"] <= await pool.fetchval("select now()")
    await heart.beat()
    assert freed == [1]


async def test_a_last_attempt_that_died_is_freed_and_not_run_again(
    pool: Pool, store: TroubledStore, dead: TroubledStore
) -> None:
    await pool.execute(f"update {JOBS} set max_attempts = 1")
    await store.beat(SILENCE)
    [row] = await rows(pool)
    assert (row["locked_by"], row["is_available"]) == (None, False)


async def test_after_an_outage_everybody_has_time_to_come_back(
    pool: Pool, store: TroubledStore, dead: TroubledStore
) -> None:
    """Here the one who is away is not dead: the outage took its session and its heartbeat."""
    clock, lines = HandClock(), Lines()
    heart = heart_of(store, clock, lines, [])
    await heart.beat()
    running = asyncio.create_task(heart.run())
    await pass_beats(clock, store, 2)
    store.troubles = [StoreUnavailable("away"), asyncpg.QueryCanceledError("slow"), OSError("net")]
    await pass_beats(clock, store, 5)
    assert len(lines.said("no heartbeat")) == 1
    assert await locked(pool) == 2

    await dead.beat(None)
    await pass_beats(clock, store, 5)
    assert await locked(pool) == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def pass_beats(clock: HandClock, store: TroubledStore, beats: int) -> None:
    for _ in range(beats):
        before = store.beats
        await asyncio.sleep(0)

        async def has_beaten(before: int = before) -> bool:
            if store.beats == before:
                await clock.move(BEAT_PERIOD / 4)
            return store.beats > before

        await until(has_beaten)


async def test_a_silent_pool_whose_session_stands_keeps_its_jobs(
    pool: Pool, store: TroubledStore
) -> None:
    await add(pool, "t", [1])
    async with living(pool, "pool-blocked") as blocked:
        await blocked.fetch(1, [])
        await silence(pool)
        assert await store.beat(SILENCE) == {}
    assert await store.beat(SILENCE) == {"pool-blocked": 1}


async def test_a_session_that_is_made_again_proves_life_again(
    pool: Pool, store: TroubledStore
) -> None:
    await add(pool, "t", [1])
    async with living(pool, "pool-blocked") as blocked:
        await pool.fetch(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' "
            "and database = (select oid from pg_database where datname = current_database())"
        )
        for lost in (blocked, store):
            with suppress(StoreUnavailable):
                await lost.beat(None)
        assert len(await blocked.fetch(1, [])) == 1
        await silence(pool)
        assert await store.beat(SILENCE) == {}


async def silence(pool: Pool) -> None:
    await pool.execute(f"update {POOLS} set heartbeat_at = now() - interval '1 hour'")


async def test_locks_of_graphile_worker_are_freed_after_its_four_hours(
    pool: Pool, store: TroubledStore
) -> None:
    """It does not beat; its age alone tells."""
    fresh, stale = await add(pool, "t", [1, 2])
    await pool.execute(f"insert into {QUEUES} (queue_name) values ('old'), ('new')")
    for table, age, where in [
        (JOBS, "3 hours 59 minutes", f"id = {fresh}"),
        (JOBS, "4 hours 1 minute", f"id = {stale}"),
        (QUEUES, "4 hours 1 minute", "queue_name = 'old'"),
        (QUEUES, "3 hours 59 minutes", "queue_name = 'new'"),
    ]:
        await pool.execute(
            f"update {table} set locked_by = 'pool-node', locked_at = now() - interval '{age}' "
            f"where {where}"
        )
    assert await store.beat(None) == {"pool-node": 1}
    assert [row["locked_by"] for row in await rows(pool)] == ["pool-node", None]
    queues = await pool.fetch(f"select locked_by from {QUEUES} order by queue_name")
    assert [row["locked_by"] for row in queues] == ["pool-node", None]


async def test_a_job_may_run_for_days_while_its_pool_lives(
    pool: Pool, store: TroubledStore
) -> None:
    await add(pool, "t", [1])
    async with living(pool, "pool-long") as long:
        await long.fetch(1, [])
        await pool.execute(f"update {JOBS} set locked_at = now() - interval '3 days'")
        assert await store.beat(SILENCE) == {}


async def test_the_loop_counts_as_turning_while_a_beat_waits_for_the_database(
    pool: Pool,
) -> None:
    """Else the probe would kill a pool of workers for an outage of its database."""

    class HangingStore(TroubledStore):
        async def beat(self, silence: timedelta | None) -> dict[str, int]:
            self.beats += 1
            await asyncio.Event().wait()
            return {}

    clock = HandClock()
    store = HangingStore(pool, "pool-hanging")
    heart = heart_of(store, clock, Lines(), [])
    running = asyncio.create_task(heart.run())
    await pass_beats(clock, store, 1)
    for _ in range(10):
        await clock.move(BEAT_PERIOD)
        await until(lambda: heart.turned_at == clock.passed)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

"""Who lives is believed; what the dead held is freed, once the observer can be sure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until
from worker_words import JOBS, POOLS, QUEUES, add, locked, rows

from kongtask import StoreUnavailable, TaskSpec, WorkerUtils
from kongtask.clock import Clock
from kongtask.postgres.jobs import JobStore
from kongtask.postgres.life import Beat, Freed, LifeStore, PoolIdentity
from kongtask.worker.heart import BEATS, SILENCE, Heart
from kongtask.worker.heart_thread import HeartThread

Pool: TypeAlias = "asyncpg.Pool[Any]"
DEAD = "pool-dead"
RECOVERY = timedelta(seconds=10)
PERIOD = RECOVERY.total_seconds() / BEATS
SILENT = RECOVERY.total_seconds() * SILENCE


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


class TroubledLife(LifeStore):
    """A store whose beats fail with the errors that are queued for them."""

    def __init__(self, pool: Pool, identity: PoolIdentity) -> None:
        super().__init__(pool, "graphile_worker", identity)
        self.troubles: list[Exception] = []
        self.beats = 0

    async def beat(self, held: Collection[int] = (), *, free: bool = False) -> Beat:
        self.beats += 1
        if self.troubles:
            raise self.troubles.pop(0)
        return await super().beat(held, free=free)


@dataclass
class Living:
    """A pool of workers that has announced itself."""

    jobs: JobStore
    life: TroubledLife

    async def vanish(self) -> None:
        await self.life.close()
        await self.jobs.abandon()


@asynccontextmanager
async def living(pool: Pool, pool_id: str, **how: Any) -> AsyncIterator[Living]:
    identity = PoolIdentity(pool_id=pool_id, host="here", concurrency=1, tasks=("t",), **how)
    one = Living(JobStore(pool, "graphile_worker", identity), TroubledLife(pool, identity))
    try:
        await one.jobs.register_tasks()
        await one.life.beat()
        yield one
    finally:
        await one.vanish()


@pytest.fixture
async def me(pool: Pool) -> AsyncIterator[Living]:
    async with living(pool, "pool-me") as one:
        one.life.beats = 0
        yield one


@pytest.fixture
async def dead(pool: Pool) -> AsyncIterator[Living]:
    """A pool that holds a job of a queue and has been silent for a minute."""
    await WorkerUtils(pool).add_job("t", spec=TaskSpec(queue_name="line"))
    async with living(pool, DEAD) as one:
        [_] = await one.jobs.fetch(1, [])
        await one.vanish()
        await silence(pool, "1 minute", DEAD)
        yield one


class Heard:
    """What a heart says."""

    def __init__(self, held: Collection[int] = ()) -> None:
        self.held = held
        self.beats: list[Beat] = []
        self.troubles: list[Exception] = []

    def heart(self, clock: Clock) -> Heart:
        return Heart(
            clock=clock, recovery_timeout=RECOVERY, held=lambda: self.held,
            on_beat=lambda beat, at: self.beats.append(beat),
            on_trouble=self.troubles.append,
        )  # fmt: skip

    @property
    def freed(self) -> list[Freed]:
        return [each for beat in self.beats for each in beat.freed]


async def silence(pool: Pool, age: str, pool_id: str) -> None:
    await pool.execute(
        f"update {POOLS} set heartbeat_at = now() - $1::text::interval where pool_id = $2",
        age, pool_id,
    )  # fmt: skip


async def test_what_the_dead_held_is_freed_after_the_observer_has_been_steady(
    pool: Pool, me: Living, dead: Living
) -> None:
    clock, heard = HandClock(), Heard()
    heart = heard.heart(clock)
    for clock.passed in (0, SILENT / 2, SILENT - 0.1):
        await heart.beat(me.life)
    assert (await locked(pool), heard.freed) == (2, [])
    clock.passed = SILENT
    await heart.beat(me.life)

    assert await locked(pool) == 0
    assert heard.freed == [Freed(pool_id=DEAD, jobs=1, reason="gone")]
    [row] = await rows(pool)
    assert (row["attempts"], row["last_error"]) == (
        1, f"The worker died while it ran this job ({DEAD})",
    )  # fmt: skip
    assert row["run_at"] <= await pool.fetchval("select now()")
    await heart.beat(me.life)
    assert len(heard.freed) == 1


async def test_a_whole_recovery_takes_no_longer_than_the_recovery_time() -> None:
    """Silence, then at worst a whole period of the observer, whose jitter makes it longer."""
    assert RECOVERY.total_seconds() > SILENT + PERIOD * 1.1


async def test_attempts_that_died_can_be_given_back(pool: Pool, me: Living) -> None:
    await add(pool, "t", [1])
    async with living(pool, DEAD, attempts_count=False) as one:
        await one.jobs.fetch(1, [])
        await one.vanish()
        await silence(pool, "7 seconds", DEAD)
        await me.life.beat(free=True)
    [row] = await rows(pool)
    assert (row["locked_by"], row["attempts"]) == (None, 0)


@pytest.mark.parametrize(
    "age, recovery, freed", [("1 second", 10, 0), ("7 seconds", 10, 1), ("7 seconds", 60, 0)]
)
async def test_each_pool_says_itself_how_long_it_may_be_silent(
    pool: Pool, me: Living, age: str, recovery: int, freed: int
) -> None:
    await add(pool, "t", [1])
    async with living(pool, DEAD, recovery_timeout=timedelta(seconds=recovery)) as one:
        await one.jobs.fetch(1, [])
        await one.vanish()
        await silence(pool, age, DEAD)
        assert len((await me.life.beat(free=True)).freed) == freed


async def test_a_last_attempt_that_died_is_freed_and_not_run_again(
    pool: Pool, me: Living, dead: Living
) -> None:
    await pool.execute(f"update {JOBS} set max_attempts = 1")
    await me.life.beat(free=True)
    [row] = await rows(pool)
    assert (row["locked_by"], row["is_available"]) == (None, False)


async def test_after_an_outage_everybody_has_time_to_come_back(
    pool: Pool, me: Living, dead: Living
) -> None:
    """Here the one who is away is not dead: the outage took its session and its heartbeat."""
    clock, heard = HandClock(), Heard()
    running = asyncio.create_task(heard.heart(clock).run(me.life))
    await pass_beats(clock, me.life, 2)
    me.life.troubles = [StoreUnavailable("away"), asyncpg.QueryCanceledError("slow"), OSError("n")]
    await pass_beats(clock, me.life, 4)
    assert len(heard.troubles) == 3
    assert await locked(pool) == 2

    await dead.life.beat()
    await pass_beats(clock, me.life, 4)
    assert await locked(pool) == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_process_that_stood_still_frees_nothing_at_first(
    pool: Pool, me: Living, dead: Living
) -> None:
    clock, heard = HandClock(), Heard()
    heart = heard.heart(clock)
    for clock.passed in (0, 60, 60 + SILENT / 2):
        await heart.beat(me.life)
    assert await locked(pool) == 2
    clock.passed = 60 + SILENT
    await heart.beat(me.life)
    assert await locked(pool) == 0


async def pass_beats(clock: HandClock, life: TroubledLife, beats: int) -> None:
    for _ in range(beats):
        before = life.beats

        async def has_beaten(before: int = before) -> bool:
            if life.beats == before:
                await clock.move(PERIOD / 4)
            return life.beats > before

        await until(has_beaten)


async def test_a_silent_pool_whose_session_stands_keeps_its_jobs_four_times_as_long(
    pool: Pool, me: Living
) -> None:
    await add(pool, "t", [1])
    async with living(pool, "pool-blocked") as blocked:
        await blocked.jobs.fetch(1, [])
        await silence(pool, "30 seconds", "pool-blocked")
        assert await me.life.beat(free=True) == Beat()
        await silence(pool, "41 seconds", "pool-blocked")
        freed = Freed(pool_id="pool-blocked", jobs=1, reason="silent")
        assert await me.life.beat(free=True) == Beat(freed=(freed,))


async def test_what_was_lost_is_told(pool: Pool, me: Living) -> None:
    mine, free, others, gone = await add(pool, "t", [1, 2, 3, 4])
    lock = f"update {JOBS} set locked_by = $1, locked_at = now() where id = $2"
    await pool.execute(lock, "pool-me", mine)
    await pool.execute(lock, "pool-other", others)
    await pool.execute(f"delete from {JOBS} where id = $1", gone)
    beat = await me.life.beat([mine, free, others, gone])
    assert beat.lost == {free, others, gone}


async def test_a_session_that_is_made_again_proves_life_again(pool: Pool, me: Living) -> None:
    await add(pool, "t", [1])
    async with living(pool, "pool-blocked") as blocked:
        await pool.fetch(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' "
            "and database = (select oid from pg_database where datname = current_database())"
        )
        for lost in (blocked, me):
            with suppress(StoreUnavailable):
                await lost.life.beat()
        await blocked.life.beat()
        assert len(await blocked.jobs.fetch(1, [])) == 1
        await silence(pool, "30 seconds", "pool-blocked")
        assert await me.life.beat(free=True) == Beat()


async def test_locks_of_graphile_worker_are_freed_after_its_four_hours(
    pool: Pool, me: Living
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
    freed = Freed(pool_id="pool-node", jobs=1, reason="stale")
    assert await me.life.beat() == Beat(freed=(freed,))
    assert [row["locked_by"] for row in await rows(pool)] == ["pool-node", None]
    queues = await pool.fetch(f"select locked_by from {QUEUES} order by queue_name")
    assert [row["locked_by"] for row in queues] == ["pool-node", None]


async def test_a_job_may_run_for_days_while_its_pool_lives(pool: Pool, me: Living) -> None:
    await add(pool, "t", [1])
    async with living(pool, "pool-long") as long:
        await long.jobs.fetch(1, [])
        await pool.execute(f"update {JOBS} set locked_at = now() - interval '3 days'")
        assert await me.life.beat(free=True) == Beat()


async def test_a_heart_that_is_stopped_before_it_began_ends(pool: Pool) -> None:
    """A signal may come at any moment of a start."""
    heard = Heard()
    identity = PoolIdentity(pool_id="pool-brief", host="here", concurrency=1, tasks=("t",))
    for _ in range(20):
        thread = HeartThread(pool, "graphile_worker", identity, heard.heart(Clock()))
        starting = asyncio.create_task(thread.start())
        await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait_for(asyncio.gather(starting, return_exceptions=True), 10)

"""The statements of a pool of workers: what they take, and what they leave to others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until

from kongtask import TaskSpec, WorkerUtils
from kongtask.core.fetch_start import Range
from kongtask.postgres.jobs import JobStore
from kongtask.postgres.life import PoolIdentity

Pool: TypeAlias = "asyncpg.Pool[Any]"
JOBS = "graphile_worker._private_jobs"
QUEUES = "graphile_worker._private_job_queues"


@asynccontextmanager
async def opened(pool: Pool, pool_id: str) -> AsyncIterator[JobStore]:
    identity = PoolIdentity(pool_id=pool_id, host="", concurrency=1, tasks=("t", "u"))
    store = JobStore(pool, "graphile_worker", identity)
    try:
        await store.register_tasks()
        yield store
    finally:
        await store.abandon()


@pytest.fixture
async def store(pool: Pool) -> AsyncIterator[JobStore]:
    async with opened(pool, "pool-me") as store:
        yield store


@pytest.fixture
async def other(pool: Pool) -> AsyncIterator[JobStore]:
    async with opened(pool, "pool-other") as store:
        yield store


READ = """select max(tables.seq_tup_read) as rows, sum(indexes.idx_tup_read) as entries
    from pg_stat_user_tables as tables join pg_stat_user_indexes as indexes using (relid)
    where tables.relname = '_private_jobs'"""
"""Counted when a session ends."""


async def add(pool: Pool, count: int, **spec: Any) -> list[int]:
    jobs = await WorkerUtils(pool).add_jobs([("t", n, TaskSpec(**spec)) for n in range(count)])
    return [job.id for job in jobs]


async def locks(pool: Pool, table: str) -> list[str | None]:
    return [row["locked_by"] for row in await pool.fetch(f"select * from {table} order by id")]


async def test_a_fetch_locks_what_it_returns_and_counts_the_attempt(
    pool: Pool, store: JobStore
) -> None:
    await add(pool, 3, queue_name=None, flags=["b", "a"], job_key=None)
    first, second = await store.fetch(2, [])
    assert first.id < second.id
    assert (first.task_identifier, first.payload, first.attempts) == ("t", 0, 1)
    assert (first.locked_by, first.flags, first.queue_name) == ("pool-me", ("a", "b"), None)
    assert await locks(pool, JOBS) == ["pool-me", "pool-me", None]
    assert await pool.fetchval(f"select sum(attempts) from {JOBS}") == 2


async def test_a_fetch_leaves_what_others_hold(
    pool: Pool, store: JobStore, other: JobStore
) -> None:
    await add(pool, 100)
    both = await asyncio.gather(store.fetch(60, []), other.fetch(60, []))
    found = [job.id for jobs in both for job in jobs]
    assert len(found) == len(set(found))
    rest = await store.fetch(100, [])
    assert len(found) + len(rest) == 100


async def test_a_fetch_through_ranges_takes_what_lies_in_them_in_order(
    pool: Pool, store: JobStore, other: JobStore
) -> None:
    noon = datetime(2026, 3, 4, 12, tzinfo=UTC)
    places = [(5, 0), (-2, 0), (1, 3), (0, 0), (0, 1), (0, 2), (-1, 0)]
    for priority, hours in places:
        await add(pool, 1, priority=priority, run_at=noon + timedelta(hours=hours))
    ranges = [Range(-32768, None, -2), Range(0, noon + timedelta(hours=1), 4)]
    found = await store.fetch(3, ranges=ranges)
    assert [(job.priority, job.run_at.hour - 12) for job in found] == [(-2, 0), (0, 1), (0, 2)]
    assert len(await other.fetch(10, ranges=ranges)) == 1
    assert len(await other.fetch(10)) == 3


async def test_a_fetch_through_ranges_locks_no_more_than_it_takes(
    pool: Pool, store: JobStore
) -> None:
    for priority in (0, 0, 1, 1):
        await add(pool, 1, priority=priority)
    ranges = [Range(0, None, 0), Range(1, None, 1)]
    [taken] = await store.fetch(1, ranges=ranges)
    before = await pool.fetch(f"select id, xmax::text from {JOBS} order by id")
    assert [row["id"] for row in before if row["xmax"] != "0"] in ([], [taken.id])


async def test_a_fetch_takes_one_job_of_a_queue_and_locks_it(
    pool: Pool, store: JobStore, other: JobStore
) -> None:
    await add(pool, 3, queue_name="line")
    [job] = await store.fetch(10, [])
    assert job.queue_name == "line"
    assert await locks(pool, QUEUES) == ["pool-me"]
    assert not await other.fetch(10, [])
    assert await store.complete([job.id]) == {job.id}
    assert await locks(pool, QUEUES) == [None]
    assert len(await other.fetch(10, [])) == 1


async def test_many_fetches_at_once_never_take_two_jobs_of_a_queue(pool: Pool) -> None:
    await add(pool, 20, queue_name="line")
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(pool, f"pool-{n}")) for n in range(4)]
        for _ in range(20):
            found = await asyncio.gather(*(each.fetch(5, []) for each in stores))
            taken = [(each, job) for each, jobs in zip(stores, found, strict=True) for job in jobs]
            assert len(taken) <= 1
            for each, job in taken:
                await each.complete([job.id])
    assert await pool.fetchval(f"select count(*) from {JOBS}") == 0


@pytest.mark.parametrize(
    "forbidden, fetched", [([], 3), (["red"], 2), (["red", "blue"], 1), (["green"], 3)]
)
async def test_forbidden_flags_are_passed_over(
    pool: Pool, store: JobStore, forbidden: list[str], fetched: int
) -> None:
    await add(pool, 1, flags=["red", "x"])
    await add(pool, 1, flags=["blue"])
    await add(pool, 1)
    assert len(await store.fetch(10, forbidden)) == fetched


@pytest.mark.parametrize("write", ["complete", "give_back"])
async def test_a_write_touches_only_what_the_pool_holds(
    pool: Pool, store: JobStore, other: JobStore, write: str
) -> None:
    await add(pool, 1, queue_name="line")
    await add(pool, 2)
    mine = [job.id for job in await store.fetch(2, [])]
    [theirs] = [job.id for job in await other.fetch(1, [])]
    assert await getattr(store, write)([*mine, theirs, 10**12]) == set(mine)
    row = await pool.fetchrow(f"select * from {JOBS} where id = $1", theirs)
    assert row is not None
    assert (row["locked_by"], row["attempts"]) == ("pool-other", 1)
    assert await locks(pool, QUEUES) == [None]


async def test_giving_back_restores_the_attempt(pool: Pool, store: JobStore) -> None:
    await add(pool, 2)
    before = await pool.fetch(f"select * from {JOBS} order by id")
    await store.give_back([job.id for job in await store.fetch(2, [])])
    assert await pool.fetch(f"select * from {JOBS} order by id") == before


async def test_what_is_locked_unknowingly_is_given_back_with_its_queue(
    pool: Pool, store: JobStore, other: JobStore
) -> None:
    await add(pool, 1, queue_name="held")
    await add(pool, 1, queue_name="lost")
    await add(pool, 1, queue_name="theirs")
    held = (await store.fetch(1, []))[0].id
    lost = (await store.fetch(1, []))[0].id
    await other.fetch(1, [])
    assert await store.give_back_unheld([held]) == {lost}
    assert await locks(pool, JOBS) == ["pool-me", None, "pool-other"]
    assert sorted(await locks(pool, QUEUES), key=str) == [None, "pool-me", "pool-other"]
    await pool.execute(f"delete from {JOBS} where id = $1", held)
    assert await store.give_back_unheld([held]) == set()
    assert sorted(await locks(pool, QUEUES), key=str) == [None, None, "pool-other"]


async def test_a_pool_that_leaves_is_forgotten_and_one_that_holds_jobs_is_not(
    pool: Pool, store: JobStore, other: JobStore
) -> None:
    await add(pool, 1)
    await pool.execute(
        "insert into graphile_worker._kongtask_pools (pool_id) values ('pool-me'), ('pool-other')"
    )
    await other.fetch(1, [])
    await store.leave()
    rows = await pool.fetch("select pool_id from graphile_worker._kongtask_pools")
    assert [row["pool_id"] for row in rows] == ["pool-other"]
    await other.leave()
    assert await locks(pool, JOBS) == [None]
    assert await pool.fetchval("select count(*) from graphile_worker._kongtask_pools") == 0


async def test_registering_tasks_again_spends_no_ids(pool: Pool, store: JobStore) -> None:
    before = await pool.fetch("select * from graphile_worker._private_tasks order by id")
    await asyncio.gather(*(store.register_tasks() for _ in range(5)))
    assert await pool.fetch("select * from graphile_worker._private_tasks order by id") == before
    last = "select last_value from pg_sequences where sequencename like '%tasks%'"
    assert await pool.fetchval(last) == 2


async def test_a_pool_that_began_on_an_empty_table_finds_few_jobs_among_many_by_index(
    pool: Pool, database_url: str
) -> None:
    """PostgreSQL keeps the plans that it made when there was nothing to find."""
    async with (
        asyncpg.create_pool(database_url, min_size=0, max_size=2) as own,
        opened(own, "pool-early") as store,
    ):
        for _ in range(10):
            assert not await store.fetch(10)
            assert await store.complete([1]) == set()
        # Nobody else reads the table: who adds may read it all to return what was added.
        jobs = [("t", n, None) for n in range(5000)]
        await WorkerUtils(pool).add_jobs(jobs, return_jobs=False)
        for _ in range(10):
            ids = [job.id for job in await store.fetch(10)]
            assert await store.complete(ids) == set(ids)

    async def told() -> Any:
        found = await pool.fetchrow(READ)
        return found if found["entries"] else None

    found = await until(told)
    assert found["rows"] == 0
    assert found["entries"] < 2000

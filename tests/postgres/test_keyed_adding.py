"""Adding looks up the keys it was given, however many dead rows somebody keeps, and only those.

Counted are the pages that were looked at, in the job table and its indexes; nothing is timed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from waiting import SOMEBODY_WAITS, until

from kongtask import TaskSpec, WorkerUtils
from kongtask.postgres.statements import DEFAULT_SCHEMA, statement

JOBS = f"{DEFAULT_SCHEMA}._private_jobs"
DEAD = 10_000
FEW_PAGES = 250
"""Ten jobs are written to about a hundred; what is dead fills more, in the table as in indexes."""

PAGES = f"""
select pg_stat_get_xact_blocks_fetched('{JOBS}'::regclass)
    + (select sum(pg_stat_get_xact_blocks_fetched(indexrelid)) from pg_index
       where indrelid = '{JOBS}'::regclass)
"""
SPECS = f"""array(
    select specs from json_populate_recordset(null::{DEFAULT_SCHEMA}.job_spec, $1::text::json)
    as specs
)"""

TICK = datetime(2030, 1, 1, tzinfo=UTC)

Adding = Callable[[Any, str], Awaitable[object]]
"""Adds jobs over a connection; their keys begin with the word."""


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


def specs(word: str) -> str:
    keys = [f"{word} {number}" if number % 2 else None for number in range(10)]
    return json.dumps([{"identifier": "t", "job_key": key} for key in keys])


async def add_one(connection: Any, word: str) -> None:
    await WorkerUtils(connection).add_job("t", spec=TaskSpec(job_key=word))


async def add_one_of_a_new_queue(connection: Any, word: str) -> None:
    await WorkerUtils(connection).add_job("t", spec=TaskSpec(queue_name=word))


async def add_one_once(connection: Any, word: str) -> None:
    spec = TaskSpec(job_key=word, job_key_mode="unsafe_dedupe")
    await WorkerUtils(connection).add_job("t", spec=spec)


async def add_many(connection: Any, word: str) -> None:
    keys = [TaskSpec(job_key=f"{word} {number}") for number in range(5)]
    await WorkerUtils(connection).add_jobs([("t", None, spec) for spec in (*keys, None)])


async def add_many_without_keys(connection: Any, _word: str) -> None:
    await WorkerUtils(connection).add_jobs([("t", number, None) for number in range(10)])


async def add_one_as_the_owner(connection: Any, word: str) -> None:
    await connection.fetch(f"select {DEFAULT_SCHEMA}._kongtask_add_job('t', job_key => $1)", word)


async def add_one_without_a_key_as_the_owner(connection: Any, _word: str) -> None:
    await connection.fetch(f"select {DEFAULT_SCHEMA}._kongtask_add_job('t')")


async def add_many_as_the_owner(connection: Any, word: str) -> None:
    await connection.fetch(f"select {DEFAULT_SCHEMA}._kongtask_add_jobs({SPECS})", specs(word))


async def add_by_a_crontab(connection: Any, word: str) -> None:
    line = json.dumps([{"identifier": word, "task": "t", "payload": "{}"}])
    query = statement("cron_enqueue", DEFAULT_SCHEMA)
    (row,) = await connection.fetch(query, line, TICK, True)
    assert row["job_id"] is not None


WAYS = [
    add_one, add_one_of_a_new_queue, add_one_once, add_many, add_many_without_keys,
    add_one_as_the_owner, add_one_without_a_key_as_the_owner, add_many_as_the_owner,
    add_by_a_crontab,
]  # fmt: skip


@asynccontextmanager
async def dead_rows(connection: Any, url: str) -> AsyncIterator[None]:
    """Let jobs come, run and go while somebody holds a snapshot; half of them have keys."""
    holder = await asyncpg.connect(url)
    try:
        async with holder.transaction(isolation="repeatable_read"):
            await holder.fetch(f"select from {JOBS}")
            await connection.execute(
                f"""
                insert into {JOBS} (task_id, key)
                select 1, case when n % 2 = 0 then 'dead ' || n end
                from generate_series(1, {DEAD}) as n;
                update {JOBS} set locked_at = now(), locked_by = 'p', attempts = 1;
                delete from {JOBS};
                """
            )
            yield
    finally:
        await holder.close()


async def pages(connection: Any, add: Adding, word: str) -> int:
    """Return how many pages adding looked at."""
    async with connection.transaction():
        before = await connection.fetchval(PAGES)
        await add(connection, word)
        return int(await connection.fetchval(PAGES) - before)


@pytest.mark.parametrize("is_analyzed", [False, True], ids=["old plans", "analyzed"])
@pytest.mark.parametrize("add", WAYS)
async def test_what_is_dead_is_not_walked_over(
    connection: Any, database_url: str, add: Adding, is_analyzed: bool
) -> None:
    for number in range(8):  # plans that are kept were made for a table with next to nothing in it
        await add(connection, f"before {number}")
    await connection.execute(f"delete from {JOBS}")
    async with dead_rows(connection, database_url):
        if is_analyzed:
            await connection.execute(f"analyze {JOBS}")
        looked_at = [await pages(connection, add, f"new {number}") for number in range(8)]

    assert max(looked_at) < FEW_PAGES, looked_at


async def keys(connection: Any) -> list[tuple[object, ...]]:
    query = f"select id, key, attempts, revision, payload::text from {JOBS} order by id"
    return [tuple(row) for row in await connection.fetch(query)]


async def test_each_key_of_a_call_meets_its_own_job(connection: Any) -> None:
    """One waits, one runs, one is used up, one is new; a job that was not named keeps its key."""
    utils = WorkerUtils(connection)
    for key in ("waits", "runs", "used up", "other"):
        await utils.add_job("t", "old", TaskSpec(job_key=key))
    await connection.execute(
        f"""
        update {JOBS} set locked_at = now(), locked_by = 'p', attempts = 1
        where key in ('runs', 'other');
        update {JOBS} set attempts = 25 where key = 'used up';
        """
    )
    names = ("new", "used up", "runs", "waits")

    jobs = await utils.add_jobs([("t", "new", TaskSpec(job_key=name)) for name in names])

    assert [job.key for job in jobs] == list(names)
    assert [job.revision for job in jobs] == [0, 0, 0, 1]
    assert await keys(connection) == [
        (1, "waits", 0, 1, '"new"'),
        (2, None, 25, 0, '"old"'),
        (3, None, 25, 0, '"old"'),
        (4, "other", 1, 0, '"old"'),
        (5, "new", 0, 0, '"new"'),
        (6, "used up", 0, 0, '"new"'),
        (7, "runs", 0, 0, '"new"'),
    ]


async def test_a_key_twice_in_a_call_is_refused_and_changes_nothing(connection: Any) -> None:
    await WorkerUtils(connection).add_job("t", "old", TaskSpec(job_key="k"))
    await connection.execute(f"update {JOBS} set locked_at = now(), locked_by = 'p', attempts = 1")
    before = await keys(connection)
    twice = json.dumps([{"identifier": "t", "job_key": "k"}] * 2)

    with pytest.raises(asyncpg.CardinalityViolationError):
        await connection.fetch(f"select {DEFAULT_SCHEMA}._kongtask_route_jobs({SPECS})", twice)

    assert await keys(connection) == before


async def test_ids_are_in_the_order_given_where_some_have_keys(connection: Any) -> None:
    given = [("ba"[n % 2], n, TaskSpec(job_key=f"k{n}") if n % 3 else None) for n in range(50)]

    jobs = await WorkerUtils(connection).add_jobs(given)

    assert [job.payload for job in sorted(jobs, key=lambda job: job.id)] == list(range(50))


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_a_job_that_is_just_being_taken_is_waited_for_and_hands_its_key_on(
    connection: Any, database_url: str, many: bool
) -> None:
    """Graphile Worker's `add_job` loses the new job then; here it is added again."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        utils = WorkerUtils(pool)
        spec = TaskSpec(job_key="k")
        await utils.add_job("t", "old", spec)
        async with connection.transaction():
            await connection.execute(f"update {JOBS} set locked_at = now(), locked_by = 'p'")
            adding = asyncio.create_task(
                utils.add_jobs([("t", "new", spec)]) if many else as_list(utils, spec)
            )
            await until(lambda: connection.fetchval(SOMEBODY_WAITS))
        (job,) = await adding

    assert (job.key, job.payload, job.revision) == ("k", "new", 0)
    assert [row[1:] for row in await keys(connection)] == [
        (None, 25, 0, '"old"'),
        ("k", 0, 0, '"new"'),
    ]


async def as_list(utils: WorkerUtils, spec: TaskSpec) -> list[Any]:
    return [await utils.add_job("t", "new", spec)]

"""Tables that every job touches are vacuumed early, and adding jobs is as it was."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from busy_server import server_with
from postgres_server import run, temporary_database
from schema_words import make_level, run_script
from waiting import until

from kongtask.postgres.level import GRAPHILE_LEVEL
from kongtask.postgres.migrations import run_migrations
from kongtask.postgres.statements import DEFAULT_SCHEMA, statement

JOBS = f"{DEFAULT_SCHEMA}._private_jobs"
QUEUES = f"{DEFAULT_SCHEMA}._private_job_queues"
POOL_ID = "pool-test"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
def vacuuming_url() -> Iterator[str]:
    """A database of a server that looks for something to vacuum every second."""
    with (
        server_with(autovacuum="on", autovacuum_naptime="1s") as server,
        temporary_database(server) as url,
    ):
        yield url


async def settings(connection: Any, table: str) -> set[str]:
    query = "select unnest(reloptions) as setting from pg_class where oid = $1::text::regclass"
    return {row["setting"] for row in await connection.fetch(query, table)}


async def work(connection: Any, limit: int) -> int:
    """Fetch and complete jobs."""
    fetch = statement("fetch_jobs", DEFAULT_SCHEMA)
    rows = await connection.fetch(fetch, POOL_ID, [1], limit, None, 1, None, None, None, True)
    ids = [row["id"] for row in rows]
    await connection.fetch(statement("complete_jobs", DEFAULT_SCHEMA), POOL_ID, ids)
    return len(ids)


async def test_an_older_schema_gets_the_settings_too(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    try:
        await make_level(connection, GRAPHILE_LEVEL, additions=4)
        assert await settings(connection, JOBS) == set()
        await run_migrations(connection)
        assert {"fillfactor=43", "autovacuum_vacuum_scale_factor=0.01"} <= await settings(
            connection, JOBS
        )
        assert {"fillfactor=90", "autovacuum_vacuum_scale_factor=0.01"} <= await settings(
            connection, QUEUES
        )
    finally:
        await connection.close()


async def test_a_backlog_does_not_put_vacuum_off(vacuuming_url: str) -> None:
    """By the server's default, 20 000 waiting jobs allow for 4 050 dead rows."""
    connection = await asyncpg.connect(vacuuming_url)
    try:
        await run_migrations(connection)
        await connection.execute(f"select {DEFAULT_SCHEMA}.add_job('t'); delete from {JOBS}")
        await connection.execute(
            f"insert into {JOBS} (task_id) select 1 from generate_series(1, 20000)"
        )
        await connection.execute(f"vacuum analyze {JOBS}")
        for _ in range(10):
            assert await work(connection, 100) == 100

        query = (
            "select n_dead_tup from pg_stat_user_tables "
            "where relid = $1::text::regclass and last_autovacuum is not null"
        )
        await until(lambda: connection.fetchrow(query, JOBS))
        assert await connection.fetchval(f"select count(*) from {JOBS}") == 19_000
    finally:
        await connection.close()


@pytest.mark.parametrize("jobs", [3, 100, 2000])
async def test_jobs_that_are_added_at_once_still_get_ids_in_their_order(
    connection: Any, jobs: int
) -> None:
    """How full a table is changes what the planner thinks of one that nobody analyzed."""
    specs = json.dumps([{"identifier": "t", "payload": n} for n in range(jobs)])
    query = (
        f"select (jobs).payload::text from {DEFAULT_SCHEMA}.add_jobs(array(select specs from "
        f"json_populate_recordset(null::{DEFAULT_SCHEMA}.job_spec, $1::text::json) as specs)) "
        "as jobs order by (jobs).id"
    )
    added = [int(row["payload"]) for row in await connection.fetch(query, specs)]
    assert added == list(range(jobs))


def test_the_settings_are_given_without_waiting_for_those_who_write(
    empty_database_url: str,
) -> None:
    """A worker in the middle of a transaction delays no `alter table … set`."""

    async def scenario() -> None:
        ours, theirs = [await asyncpg.connect(empty_database_url) for _ in range(2)]
        try:
            await make_level(ours, GRAPHILE_LEVEL, additions=4)
            async with theirs.transaction():
                await theirs.execute(f"select {DEFAULT_SCHEMA}.add_job('t')")
                await run_script(ours, "kongtask/0005_storage_and_adding", DEFAULT_SCHEMA)
        finally:
            await ours.close()
            await theirs.close()

    run(scenario())

"""A schema comes to this version's level from wherever it stands, once, whoever else tries."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from schema_catalog import read_catalog
from schema_words import HastyClock, make_level, record, run_script
from waiting import SOMEBODY_WAITS, until

from kongtask.errors import ConfigurationError, StoreUnavailable
from kongtask.postgres import migrations
from kongtask.postgres.level import ADDITIONS, BREAKING_LEVELS, GRAPHILE_LEVEL
from kongtask.postgres.migrations import check_schema, read_level, run_migrations
from kongtask.postgres.statements import DEFAULT_SCHEMA, quote_schema

JOBS = f"{DEFAULT_SCHEMA}._private_jobs"


@pytest.fixture
async def connection(empty_database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def migrated(database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def recorded(connection: Any, schema: str = DEFAULT_SCHEMA) -> list[tuple[Any, ...]]:
    name = quote_schema(schema)
    levels = await connection.fetch(f"select id, breaking, ts from {name}.migrations order by id")
    additions = await connection.fetch(f"select id, ts from {name}._kongtask_migrations order by 1")
    return [*map(tuple, levels), *map(tuple, additions)]


async def test_an_empty_database_gets_every_level_and_every_addition(connection: Any) -> None:
    assert await run_migrations(connection) == GRAPHILE_LEVEL

    rows = [row[:-1] for row in await recorded(connection)]
    levels = [(number, number in BREAKING_LEVELS) for number in range(1, 21)]
    assert rows == [*levels, *((number,) for number in range(1, len(ADDITIONS) + 1))]
    await check_schema(connection, DEFAULT_SCHEMA)


async def test_migrating_again_changes_nothing(connection: Any) -> None:
    await run_migrations(connection)
    before = await recorded(connection), await read_catalog(connection)

    assert await run_migrations(connection) == GRAPHILE_LEVEL

    assert (await recorded(connection), await read_catalog(connection)) == before


async def test_a_pool_will_do_as_well(empty_database_url: str) -> None:
    async with asyncpg.create_pool(empty_database_url, min_size=1, max_size=1) as pool:
        assert await run_migrations(pool) == GRAPHILE_LEVEL
        await check_schema(pool, DEFAULT_SCHEMA)


async def test_it_works_inside_a_transaction_of_the_caller(connection: Any) -> None:
    async with connection.transaction():
        await run_migrations(connection)

    await check_schema(connection, DEFAULT_SCHEMA)


@pytest.mark.parametrize("level", range(16, 21))
async def test_every_earlier_level_ends_in_the_same_schema_with_its_jobs_untouched(
    connection: Any, migrated: Any, level: int
) -> None:
    await make_level(connection, level)
    await connection.execute(f"insert into {DEFAULT_SCHEMA}._private_tasks values (default, 't')")
    await connection.execute(
        f"insert into {JOBS} (task_id, key, attempts, locked_at, locked_by, payload) "
        """values (1, 'k', 3, now(), 'pool-x', '{"b": 1, "a":  2}')"""
    )
    columns = "id, key, attempts, locked_at, locked_by, payload::text, updated_at, revision"
    before = await connection.fetch(f"select {columns} from {JOBS}")

    assert await run_migrations(connection) == GRAPHILE_LEVEL

    assert await connection.fetch(f"select {columns} from {JOBS}") == before
    assert await read_catalog(connection) == await read_catalog(migrated)


@pytest.mark.parametrize("additions", range(len(ADDITIONS)))
async def test_additions_that_are_missing_are_made(
    connection: Any, migrated: Any, additions: int
) -> None:
    await make_level(connection, GRAPHILE_LEVEL, additions)
    with pytest.raises(ConfigurationError, match=f"lacks {len(ADDITIONS) - additions} of Kong"):
        await check_schema(connection, DEFAULT_SCHEMA)

    await run_migrations(connection)

    assert await read_catalog(connection) == await read_catalog(migrated)


async def test_a_newer_level_that_is_not_breaking_still_gets_the_additions(connection: Any) -> None:
    await make_level(connection, GRAPHILE_LEVEL)
    await record(connection, GRAPHILE_LEVEL + 3)

    assert await run_migrations(connection) == GRAPHILE_LEVEL + 3

    await check_schema(connection, DEFAULT_SCHEMA)


async def test_levels_without_the_mark_of_breaking_ones_get_it(
    connection: Any, migrated: Any
) -> None:
    await make_level(connection, 16)
    await connection.execute(f"alter table {DEFAULT_SCHEMA}.migrations drop column breaking")
    assert (await read_level(connection, DEFAULT_SCHEMA)).breaking == 16

    await run_migrations(connection)

    rows = await connection.fetch(f"select id from {DEFAULT_SCHEMA}.migrations where breaking")
    assert sorted(row["id"] for row in rows) == list(BREAKING_LEVELS)
    assert await read_catalog(connection) == await read_catalog(migrated)


@pytest.mark.parametrize("level", [0, 16, 19, 20], ids=lambda level: f"from {level or 'nothing'}")
async def test_ten_connections_at_once_migrate_once(
    empty_database_url: str, connection: Any, level: int
) -> None:
    if level:
        await make_level(connection, level)
    start = asyncio.Barrier(10)

    async def installer() -> int:
        own = await asyncpg.connect(empty_database_url)
        await start.wait()
        try:
            return await run_migrations(own)
        finally:
            await own.close()

    assert await asyncio.gather(*(installer() for _ in range(10))) == [GRAPHILE_LEVEL] * 10
    own = range(1, len(ADDITIONS) + 1)
    assert [row[0] for row in await recorded(connection)] == [*range(1, 21), *own]
    await check_schema(connection, DEFAULT_SCHEMA)


async def test_ten_processes_at_once_migrate_once(empty_database_url: str, connection: Any) -> None:
    program = """
import asyncio, sys, asyncpg
from kongtask.postgres.migrations import run_migrations
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    print(await run_migrations(connection))
    await connection.close()
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, empty_database_url,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env=environment,
        )
        for _ in range(10)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"

    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))

    assert answers == [(b"20\n", b"")] * 10
    own = range(1, len(ADDITIONS) + 1)
    assert [row[0] for row in await recorded(connection)] == [*range(1, 21), *own]


ODD_NAMES = ['we"ird', "Upper Case", "select", "a$$b", "näme", "semi;colon", "x" * 63, "it's", "%s"]


@pytest.mark.parametrize("schema", ODD_NAMES)
async def test_odd_names_of_schemas_work(connection: Any, schema: str) -> None:
    name = quote_schema(schema)

    assert await run_migrations(connection, schema) == GRAPHILE_LEVEL

    await check_schema(connection, schema)
    await connection.execute(f"select {name}.add_job('t', job_key => 'k', queue_name => 'q')")
    await connection.execute(f"select {name}.add_job('t', job_key => 'k', priority => 2)")
    job = await connection.fetchrow(f"select task_identifier, revision from {name}.jobs")
    assert tuple(job) == ("t", 1)
    await connection.execute(f"select {name}.remove_job('k')")
    assert await connection.fetchval(f"select count(*) from {name}.jobs") == 0
    assert not await connection.fetchval(
        "select count(*) from pg_namespace where nspname = 'graphile_worker'"
    )


@pytest.mark.parametrize(
    "schema, sentence",
    [
        ("", "schema must have 1 to 63 bytes"),
        ("x" * 64, "schema must have 1 to 63 bytes"),
        ("ö" * 32, "schema must have 1 to 63 bytes"),
        ("a\0b", "schema must have 1 to 63 bytes and no NUL"),
        ("a$kongtask$b", r"schema must not contain \$kongtask"),
    ],
    ids=["none", "64 bytes", "64 bytes in 32 letters", "NUL", "the delimiter"],
)
async def test_names_that_cannot_be_are_refused(
    connection: Any, schema: str, sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        await run_migrations(connection, schema)


async def test_two_schemas_live_beside_each_other(connection: Any) -> None:
    await run_migrations(connection, "one")
    await run_migrations(connection, "two")
    await connection.execute("select one.add_job('t')")

    assert await connection.fetchval("select count(*) from one.jobs") == 1
    assert await connection.fetchval("select count(*) from two.jobs") == 0


async def announcements(connection: Any, url: str) -> list[dict[str, Any]]:
    """Migrate, and return what was announced meanwhile."""
    heard: list[str] = []
    done = asyncio.Event()

    def hear(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
        done.set() if payload == "done" else heard.append(str(payload))

    listener = await asyncpg.connect(url)
    try:
        await listener.add_listener("worker:migrate", hear)
        await run_migrations(connection)
        await connection.execute("notify \"worker:migrate\", 'done'")
        await asyncio.wait_for(done.wait(), 30)
    finally:
        await listener.close()
    return [json.loads(payload) for payload in heard]


async def test_workers_of_the_schema_hear_of_each_new_level(
    connection: Any, empty_database_url: str
) -> None:
    await make_level(connection, 16)

    assert await announcements(connection, empty_database_url) == [
        {"migrationNumber": 17, "breaking": False},
        {"migrationNumber": 18, "breaking": False},
        {"migrationNumber": 19, "breaking": True},
        {"migrationNumber": 20, "breaking": False},
    ]


@pytest.mark.parametrize("level", [0, 20], ids=["a new schema", "additions alone"])
async def test_workers_of_other_schemas_are_not_stopped_by(
    connection: Any, empty_database_url: str, level: int
) -> None:
    if level:
        await make_level(connection, level)

    assert await announcements(connection, empty_database_url) == []


async def test_a_schema_that_graphile_worker_is_installing_is_waited_for(
    connection: Any, empty_database_url: str
) -> None:
    other = await asyncpg.connect(empty_database_url)
    await run_script(other, "foundation/schema")
    await run_script(other, "foundation/migrations")

    class Progress(HastyClock):
        async def sleep(self, seconds: float) -> None:
            self.naps += 1
            await record(other, self.naps + 7)
            if self.naps == 4:
                await other.execute(f"drop schema {DEFAULT_SCHEMA} cascade")
                await make_level(other, 18)

    await record(other, 7)
    clock = Progress()

    assert await run_migrations(connection, clock=clock) == GRAPHILE_LEVEL

    assert clock.naps == 4
    await other.close()


async def test_a_job_table_in_use_is_waited_for(connection: Any, empty_database_url: str) -> None:
    await make_level(connection, GRAPHILE_LEVEL)
    user = await asyncpg.connect(empty_database_url)
    using = user.transaction()
    await using.start()
    await user.execute(f"select {DEFAULT_SCHEMA}.add_job('t')")
    migrating = asyncio.create_task(run_migrations(connection))
    await until(lambda: user.fetchval(SOMEBODY_WAITS))

    await using.commit()

    assert await asyncio.wait_for(migrating, 30) == GRAPHILE_LEVEL
    await user.close()


async def test_a_job_table_that_stays_in_use_is_named_and_left_as_it_was(
    connection: Any, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "10ms")
    await make_level(connection, 19)
    before = await read_catalog(connection)
    user = await asyncpg.connect(empty_database_url)
    async with user.transaction():
        await user.execute(f"lock table {JOBS} in access share mode")
        with pytest.raises(StoreUnavailable) as refused:
            await run_migrations(connection, clock=HastyClock())

    await user.close()
    assert str(refused.value) == (
        'schema "graphile_worker" could not be migrated in 20 attempts because others use or '
        "migrate its tables (canceling statement due to lock timeout): end long transactions on "
        "them and try again"
    )
    assert await read_catalog(connection) == before
    assert (await read_level(connection, DEFAULT_SCHEMA)).graphile == 19


async def test_what_stands_in_the_way_is_named_and_nothing_is_half_done(connection: Any) -> None:
    await connection.execute(f"create schema {DEFAULT_SCHEMA}")
    await connection.execute(
        f"create function {DEFAULT_SCHEMA}.complete_jobs(bigint[]) returns int "
        "language sql as 'select 1'"
    )
    before = await read_catalog(connection)

    with pytest.raises(ConfigurationError) as refused:
        await run_migrations(connection)

    assert str(refused.value) == (
        'schema "graphile_worker" could not be migrated and is as it was: function '
        '"complete_jobs" already exists with same argument types: remove what is in the way, or '
        "choose another schema with -s"
    )
    assert await read_catalog(connection) == before


async def test_a_server_that_takes_no_writes_is_not_the_one(connection: Any) -> None:
    await connection.execute("set default_transaction_read_only = on")

    with pytest.raises(ConfigurationError, match="connect to the primary, not to a replica"):
        await run_migrations(connection)


async def test_jobs_that_are_there_get_no_context_and_are_not_rewritten(connection: Any) -> None:
    await make_level(connection, GRAPHILE_LEVEL)
    await connection.execute(f"select {DEFAULT_SCHEMA}.add_job('t') from generate_series(1, 100)")
    file = await connection.fetchval("select pg_relation_filenode($1::regclass)", JOBS)
    await connection.execute("set kongtask.traceparent = 'of the migration'")

    await run_migrations(connection)

    assert await connection.fetchval(f"select count(traceparent) from {JOBS}") == 0
    assert await connection.fetchval("select pg_relation_filenode($1::regclass)", JOBS) == file

"""Every schema that cannot be worked on is refused in one sentence that names the way out."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
from postgres_server import run
from schema_catalog import read_catalog
from schema_words import HastyClock, make_level, record, run_script

from kongtask.errors import (
    ConfigurationError,
    DatabaseRefused,
    KongTaskError,
    SchemaForeign,
    SchemaTooNew,
    StoreUnavailable,
)
from kongtask.postgres.level import ADDITIONS, GRAPHILE_LEVEL, Level, check_level
from kongtask.postgres.migrations import check_schema, read_level, run_migrations
from kongtask.postgres.statements import DEFAULT_SCHEMA

PASSWORD = "hush-hush"


@pytest.fixture
async def connection(empty_database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


async def nothing(_connection: Any) -> None:
    """No schema at all."""


async def schema_only(connection: Any) -> None:
    await run_script(connection, "foundation/schema")


async def no_levels(connection: Any) -> None:
    await schema_only(connection)
    await run_script(connection, "foundation/migrations")


async def level_19(connection: Any) -> None:
    await make_level(connection, 19)


async def without_additions(connection: Any) -> None:
    await make_level(connection, GRAPHILE_LEVEL)


async def newer_and_breaking(connection: Any) -> None:
    await run_migrations(connection)
    await connection.execute(
        f"insert into {DEFAULT_SCHEMA}.migrations (id, breaking) values (21, true), (22, false)"
    )


async def older_graphile(connection: Any) -> None:
    await no_levels(connection)
    await record(connection, 11)
    for name in ("jobs", "tasks"):
        await connection.execute(f"create table {DEFAULT_SCHEMA}.{name} ()")


async def go_kongtask(connection: Any) -> None:
    await no_levels(connection)
    await connection.execute(f"alter table {DEFAULT_SCHEMA}.migrations drop column breaking")
    await connection.execute(
        f"insert into {DEFAULT_SCHEMA}.migrations (id) select generate_series(1, 11)"
    )
    for name in ("jobs", "job_queues", "known_crontabs"):
        await connection.execute(f"create table {DEFAULT_SCHEMA}.{name} ()")


async def migrations_of_another_tool(connection: Any) -> None:
    await schema_only(connection)
    await connection.execute(
        f"create table {DEFAULT_SCHEMA}.migrations (id serial, name text, run_on timestamp)"
    )


async def jobs_of_another_tool(connection: Any) -> None:
    await schema_only(connection)
    await connection.execute(f"create table {DEFAULT_SCHEMA}.jobs (id uuid)")


async def levels_without_tables(connection: Any) -> None:
    await no_levels(connection)
    await record(connection, GRAPHILE_LEVEL)


PENDING = [
    (nothing, "does not exist"),
    (schema_only, "holds no job tables"),
    (no_levels, "holds no job tables"),
    (level_19, "is at level 19, this version works on level 20"),
    (without_additions, f"lacks {len(ADDITIONS)} of KongTask's {len(ADDITIONS)} additions"),
]

REFUSED = [
    (
        newer_and_breaking,
        SchemaTooNew,
        "is at level 22 of Graphile Worker, which includes the breaking level 21; this version of "
        "KongTask knows levels up to 20: upgrade KongTask",
    ),
    (
        older_graphile,
        SchemaForeign,
        "is at level 11 of Graphile Worker, KongTask takes over from level 16: stop its workers, "
        "run `npx graphile-worker@0.18.0 --schema-only --schema graphile_worker` once, then "
        "`kongtask migrate -s graphile_worker`",
    ),
    (
        go_kongtask,
        SchemaForeign,
        "was made by KongTask for Go, whose tables (its migration 11) are others: stop its "
        "workers, then move its jobs with `kongtask migrate --from-kongtask-go -s graphile_worker`",
    ),
    (
        migrations_of_another_tool,
        SchemaForeign,
        'has a table "migrations" that neither KongTask nor Graphile Worker made: choose another '
        "schema with -s",
    ),
    (
        jobs_of_another_tool,
        SchemaForeign,
        'has a table "jobs" that neither KongTask nor Graphile Worker made: choose another schema '
        "with -s",
    ),
    (
        levels_without_tables,
        SchemaForeign,
        'says it is at level 20 of Graphile Worker, but has no table "_private_jobs": restore it '
        "from a backup, or choose another schema with -s",
    ),
]


@pytest.mark.parametrize("make, state", PENDING, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_schema_that_waits_for_its_migration_says_how(
    connection: Any, make: Any, state: str
) -> None:
    await make(connection)

    with pytest.raises(ConfigurationError) as refused:
        await check_schema(connection, DEFAULT_SCHEMA)

    assert type(refused.value) is ConfigurationError
    assert str(refused.value) == (
        f'schema "graphile_worker" {state}: run `kongtask migrate -s graphile_worker`'
    )
    assert await run_migrations(connection) == GRAPHILE_LEVEL


@pytest.mark.parametrize(
    "make, kind, sentence", REFUSED, ids=lambda value: getattr(value, "__name__", "")
)
async def test_a_schema_that_cannot_be_taken_over_is_left_alone(
    connection: Any, make: Any, kind: type[KongTaskError], sentence: str
) -> None:
    await make(connection)
    before = await read_catalog(connection)

    for refusing in (
        check_schema(connection, DEFAULT_SCHEMA),
        run_migrations(connection, clock=HastyClock()),
    ):
        with pytest.raises(KongTaskError) as refused:
            await refusing
        assert type(refused.value) is kind
        assert str(refused.value) == f'schema "graphile_worker" {sentence}'
    assert await read_catalog(connection) == before


@pytest.mark.parametrize("ago, naps", [("11 seconds", 0), ("0 seconds", 4)])
async def test_only_what_changed_lately_is_looked_at_again(
    connection: Any, ago: str, naps: int
) -> None:
    await older_graphile(connection)
    await connection.execute(
        f"update {DEFAULT_SCHEMA}.migrations set ts = now() - interval '{ago}'"
    )
    clock = HastyClock()

    with pytest.raises(SchemaForeign):
        await run_migrations(connection, clock=clock)

    assert clock.naps == naps


async def test_the_way_out_quotes_odd_names_for_the_shell(connection: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"""kongtask migrate -s 'it'"'"'s odd'"""):
        await check_schema(connection, "it's odd")


def test_an_old_server_is_refused() -> None:
    level = Level(server=130012, owner="me")

    with pytest.raises(ConfigurationError) as refused:
        check_level(level, "jobs")

    assert str(refused.value) == ("PostgreSQL 13 is too old: upgrade the server to 14 or newer")
    with pytest.raises(ConfigurationError, match="holds no job tables"):
        check_level(replace(level, server=140000), "jobs")


async def test_a_newer_level_that_is_not_breaking_is_warned_of_once(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    schema = f"newer_{uuid4().hex}"
    connection = await asyncpg.connect(database_url)
    await run_migrations(connection, schema)
    await record(connection, 21, schema)

    with caplog.at_level(logging.WARNING):
        await check_schema(connection, schema)
        await check_schema(connection, schema)

    await connection.close()
    assert [record.getMessage() for record in caplog.records] == [
        f'schema "{schema}" is at level 21 of Graphile Worker, this version of KongTask knows '
        "levels up to 20: it goes on, because the newer ones are not breaking"
    ]


async def test_a_lost_connection_is_unavailable(connection: Any, empty_database_url: str) -> None:
    other = await asyncpg.connect(empty_database_url)
    await other.fetchval("select pg_terminate_backend($1)", connection.get_server_pid())
    await other.close()

    with pytest.raises(StoreUnavailable, match="the connection to PostgreSQL was lost"):
        await read_level(connection, DEFAULT_SCHEMA)


@pytest.fixture
def role(server_url: str) -> Iterator[str]:
    """A role that may log in and nothing else. Ends after the databases of its test."""
    name = f"app_{uuid4().hex[:8]}"
    run(execute(server_url, f"create role {name} login password '{PASSWORD}'"))
    yield name
    run(execute(server_url, f"drop role {name}"))


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def restricted(role: str, empty_database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection of that role to the test's database."""
    parts = urlsplit(empty_database_url)
    host = parts.netloc.rpartition("@")[2]
    url = urlunsplit(parts._replace(netloc=f"{role}:{PASSWORD}@{host}"))
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def database_of(connection: Any) -> str:
    return str(await connection.fetchval("select current_database()"))


async def refusal_of(migrating: Any) -> str:
    with pytest.raises(DatabaseRefused) as refused:
        await migrating
    assert refused.value.reason == "PermissionDenied"
    assert PASSWORD not in str(refused.value)
    return str(refused.value)


async def test_a_role_that_may_not_create_schemas_is_told_who_can(
    restricted: Any, role: str
) -> None:
    assert await refusal_of(run_migrations(restricted)) == (
        f'role "{role}" may not migrate schema "graphile_worker": let an owner of database '
        f'"{await database_of(restricted)}" run `create schema "graphile_worker" authorization '
        f'"{role}"`'
    )


async def test_a_role_that_may_not_use_the_schema_is_told_what_to_grant(
    restricted: Any, connection: Any, role: str
) -> None:
    await connection.execute(f"create schema {DEFAULT_SCHEMA}")
    owner = await connection.fetchval("select current_user")

    assert await refusal_of(run_migrations(restricted)) == (
        f'role "{role}" may not migrate schema "graphile_worker": let "{owner}" run `grant usage, '
        f'create on schema "graphile_worker" to "{role}"`'
    )


async def test_a_role_that_does_not_own_the_tables_is_told_who_does(
    restricted: Any, connection: Any, role: str
) -> None:
    await make_level(connection, 19)
    owner = await connection.fetchval("select current_user")
    sentence = (
        f'schema "graphile_worker": connect as the owner of its tables, usually "{owner}", the '
        "owner of the schema"
    )

    reading = await refusal_of(check_schema(restricted, DEFAULT_SCHEMA))
    await connection.execute(f"grant usage, create on schema {DEFAULT_SCHEMA} to {role}")
    await connection.execute(f"grant all on all tables in schema {DEFAULT_SCHEMA} to {role}")
    migrating = await refusal_of(run_migrations(restricted))

    assert reading == f'role "{role}" may not read {sentence}'
    assert migrating == f'role "{role}" may not migrate {sentence}'
    assert (await read_level(connection, DEFAULT_SCHEMA)).graphile == 19


@pytest.mark.parametrize(
    "statements",
    [
        ["create schema {schema} authorization {role}"],
        ["create schema {schema}", "grant usage, create on schema {schema} to {role}"],
        [
            "create schema {schema}",
            "create table {schema}.migrations (id int primary key, "
            "ts timestamptz not null default now(), breaking boolean not null default false)",
            "grant usage, create on schema {schema} to {role}",
            "grant all on {schema}.migrations to {role}",
        ],
    ],
    ids=["a schema for the role", "a schema with rights", "the table of levels as well"],
)
async def test_what_an_administrator_made_beforehand_is_used(
    restricted: Any, connection: Any, role: str, statements: list[str]
) -> None:
    for statement in statements:
        await connection.execute(statement.format(schema=DEFAULT_SCHEMA, role=role))

    assert await run_migrations(restricted) == GRAPHILE_LEVEL

    await check_schema(restricted, DEFAULT_SCHEMA)
    await restricted.execute(f"select {DEFAULT_SCHEMA}.add_job('t')")
    assert (await read_level(restricted, DEFAULT_SCHEMA)).additions == len(ADDITIONS)

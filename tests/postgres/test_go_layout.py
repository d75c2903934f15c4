"""Jobs of KongTask for Go move to Graphile Worker's tables as they are."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from kongtask import WorkerUtils
from kongtask.errors import ConfigurationError
from kongtask.postgres.go_layout import migrate_from_go
from kongtask.postgres.migrations import GRAPHILE_LEVEL, check_level, read_level

OLD = """
create schema {schema};
create table {schema}.migrations (id int primary key, ts timestamptz not null default now());
insert into {schema}.migrations (id) select generate_series(1, 11);
create table {schema}.job_queues (
    queue_name text primary key, job_count int not null, locked_at timestamptz, locked_by text
);
create table {schema}.jobs (
    id bigserial primary key, queue_name text, task_identifier text not null,
    payload json not null default '{{}}', priority int not null default 0,
    run_at timestamptz not null default now(), attempts int not null default 0,
    max_attempts int not null default 25, last_error text,
    created_at timestamptz not null default now(), updated_at timestamptz not null default now(),
    key text unique, locked_at timestamptz, locked_by text, revision int not null default 0,
    flags jsonb
);
create table {schema}.known_crontabs (
    identifier text primary key, known_since timestamptz not null default now(),
    last_execution timestamptz
);
insert into {schema}.jobs (queue_name, task_identifier, payload, key, flags, priority)
values
    ('mail', 'send', '{{"to": "ann"}}', 'k', '{{"a": true}}', 70000),
    (null, 'send', '[1]', null, null, 0);
insert into {schema}.jobs (task_identifier, attempts, max_attempts, last_error, locked_at)
values ('report', 3, 3, 'no', null), ('report', 1, 25, null, now() - interval '5 hours');
insert into {schema}.known_crontabs (identifier, last_execution) values ('daily', now());
"""


@pytest.fixture(params=["graphile_worker", "o'd\"d"], ids=["usual name", "odd name"])
async def schema(request: pytest.FixtureRequest, empty_database_url: str) -> str:
    name = str(request.param)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(OLD.format(schema='"' + name.replace('"', '""') + '"'))
    await connection.close()
    return name


@pytest.fixture
async def database(empty_database_url: str) -> Any:
    async with asyncpg.create_pool(empty_database_url, min_size=1, max_size=4) as pool:
        yield pool


async def test_every_job_keeps_its_id_key_attempts_and_error(schema: str, database: Any) -> None:
    assert await migrate_from_go(database, schema) == 4

    utils = WorkerUtils(database, schema)
    waiting = {job.id: job for job in await utils.list_jobs("waiting")}
    [failed] = await utils.list_jobs("failed")
    assert sorted(waiting) == [1, 2, 4]
    first = waiting[1]
    assert (first.task_identifier, first.queue_name, first.key) == ("send", "mail", "k")
    assert (first.payload, first.flags, first.priority) == ({"to": "ann"}, ("a",), 32767)
    assert (waiting[4].attempts, waiting[4].locked_at) == (1, None)
    assert (failed.id, failed.attempts, failed.last_error) == (3, 3, "no")
    assert (await utils.add_job("next")).id == 5
    check_level(await read_level(database, schema), schema)
    assert (await read_level(database, schema)).graphile == GRAPHILE_LEVEL


async def test_the_old_tables_stay_under_another_name(schema: str, database: Any) -> None:
    await migrate_from_go(database, schema)

    old = schema.replace('"', '""') + "_kongtask_go"
    assert await database.fetchval(f'select count(*) from "{old}".jobs') == 4
    with pytest.raises(ConfigurationError, match="does not hold the tables of KongTask for Go"):
        await migrate_from_go(database, schema)


async def test_running_jobs_are_not_moved(schema: str, database: Any) -> None:
    quoted = '"' + schema.replace('"', '""') + '"'
    await database.execute(
        f"update {quoted}.jobs set locked_at = now(), locked_by = 'w' where id = 1"
    )

    with pytest.raises(ConfigurationError, match="are running: stop the workers"):
        await migrate_from_go(database, schema)

    assert await database.fetchval(f"select count(*) from {quoted}.jobs") == 4

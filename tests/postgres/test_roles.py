"""Roles with the rights that `kongtask roles` prints do their work, and nothing beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import psycopg
import pytest
from role_words import PASSWORD, as_role, execute, fetch, grant, login_role

from kongtask import TaskSpec, WorkerUtils, run_task_list_once
from kongtask.adapters import psycopg as adapter
from kongtask.core.cron.crontab import parse_crontab
from kongtask.core.cron.schedule import Tick
from kongtask.errors import ConfigurationError, DatabaseRefused, InvalidJob, InvalidMaxAttempts
from kongtask.postgres.crontabs import CrontabStore
from kongtask.postgres.level import GRAPHILE_LEVEL
from kongtask.postgres.migrations import check_schema, run_migrations
from kongtask.postgres.roles import roles_sql
from kongtask.postgres.statements import DEFAULT_SCHEMA, quote_schema

S = DEFAULT_SCHEMA
SECRET = "the-secret-payload"
MOMENT = datetime(2031, 1, 1, tzinfo=UTC)


@pytest.fixture
async def worker_url(database_url: str) -> AsyncIterator[str]:
    """The test's database as a role that works jobs."""
    async with login_role(database_url) as role:
        await grant(database_url, worker=role)
        yield as_role(database_url, role)


@pytest.fixture
async def add_url(database_url: str) -> AsyncIterator[str]:
    """The test's database as a role that only adds jobs."""
    async with login_role(database_url) as role:
        await grant(database_url, add=role)
        yield as_role(database_url, role)


@pytest.fixture
async def adding(add_url: str) -> AsyncIterator[WorkerUtils]:
    async with await WorkerUtils.connect(add_url) as utils:
        yield utils


@pytest.fixture
async def working(worker_url: str) -> AsyncIterator[asyncpg.Pool[Any]]:
    async with asyncpg.create_pool(worker_url, min_size=0, max_size=6) as pool:
        yield pool


async def refused(url: str, *statements: str) -> None:
    for statement in statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await execute(url, statement)


async def test_a_worker_role_runs_jobs_of_every_kind(
    working: asyncpg.Pool[Any], database_url: str
) -> None:
    done: list[object] = []

    async def run(payload: Any, helpers: Any) -> None:
        done.append(payload["n"])
        if payload["n"] == 1:
            await helpers.add_job("run", {"n": 4}, TaskSpec(job_key="k", queue_name="q"))
            raise ValueError("once more")

    utils = WorkerUtils(working)
    assert await run_migrations(working) == GRAPHILE_LEVEL
    await utils.add_job("run", {"n": 1})
    await utils.add_job("run", {"n": 2}, TaskSpec(queue_name="q", job_key="once"))
    await utils.add_job("run", {"n": 3}, TaskSpec(job_key="once", job_key_mode="unsafe_dedupe"))
    await utils.add_jobs([("run", {"n": 5}, None), ("run", {"n": 6}, TaskSpec(queue_name="r"))])

    await run_task_list_once({"run": run}, working)

    assert sorted(done) == [1, 2, 4, 5, 6]
    rows = await fetch(database_url, f"select last_error, attempts from {S}._private_jobs")
    assert [tuple(row) for row in rows] == [("once more", 1)]
    await check_schema(working, S)


async def test_a_worker_role_adds_recurring_jobs_once(working: asyncpg.Pool[Any]) -> None:
    items = parse_crontab("0 9 * * * report")
    store = CrontabStore(working, S)
    await store.register([items[0].identifier], MOMENT)
    tick = Tick(timestamp=MOMENT, items=tuple(items))

    assert await store.enqueue(tick) == (items[0].identifier,)
    assert await store.enqueue(tick) == ()
    assert (await store.known())[items[0].identifier].last_execution == MOMENT


async def test_a_worker_role_sees_and_changes_every_table_of_jobs(
    worker_url: str, database_url: str
) -> None:
    """Fails for a table that a later step adds and `kongtask roles` forgets."""
    own = ("migrations", "_kongtask_migrations")
    tables = [
        row["relname"]
        for row in await fetch(
            database_url,
            "select relname from pg_class where relnamespace = $1::regnamespace and relkind = 'r'",
            S,
        )
    ]
    assert len(tables) > 6
    for table in tables:
        rights = "select" if table in own else "select, insert"
        may = "select has_table_privilege($1, $2), row_security_active($1)"
        [(allowed, is_hidden)] = await fetch(worker_url, may, f"{S}.{table}", rights)
        assert allowed, table
        if is_hidden:
            policies = await fetch(
                worker_url,
                "select 1 from pg_policies where tablename = $1 and current_user = any (roles) "
                "and cmd = 'ALL' and qual = 'true' and with_check = 'true'",
                table,
            )
            assert len(policies) == 1, table


async def test_a_worker_role_may_not_change_the_schema(worker_url: str, database_url: str) -> None:
    await refused(
        worker_url,
        f"alter table {S}._private_jobs add column extra int",
        f"create table {S}.extra ()",
        f"create or replace function {S}.add_jobs(int) returns int language sql as 'select 1'",
        f"insert into {S}.migrations (id) values (99)",
        f"insert into {S}._kongtask_migrations (id) values (99)",
        f"truncate {S}._private_jobs",
        f"alter table {S}._private_jobs disable row level security",
    )
    await execute(database_url, f"delete from {S}._kongtask_migrations where id > 4")
    async with asyncpg.create_pool(worker_url, min_size=0, max_size=1) as pool:
        with pytest.raises(DatabaseRefused, match="may not migrate"):
            await run_migrations(pool)


async def test_a_role_that_only_adds_adds_in_every_way(
    adding: WorkerUtils, add_url: str, database_url: str
) -> None:
    spec = TaskSpec(queue_name="q", priority=3, max_attempts=2, flags=["b", "a"], run_at=MOMENT)
    job = await adding.add_job("mail", {"to": "ann"}, spec)
    assert (job.payload, job.queue_name, job.priority, job.flags, job.run_at) == (
        {"to": "ann"}, "q", 3, ("a", "b"), MOMENT,
    )  # fmt: skip
    jobs = await adding.add_jobs(
        [("mail", {"n": n}, TaskSpec(queue_name=f"q{n}")) for n in range(3)]
        + [("keyed", [1], TaskSpec(job_key="k")), ("other", None, None)]
    )
    assert [(each.task_identifier, each.queue_name, each.payload) for each in jobs] == [
        ("mail", "q0", {"n": 0}), ("mail", "q1", {"n": 1}), ("mail", "q2", {"n": 2}),
        ("keyed", None, [1]), ("other", None, {}),
    ]  # fmt: skip
    async with adding.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await adding.add_job("undone", connection=connection)
        await transaction.rollback()
    with psycopg.connect(add_url) as connection:
        assert adapter.add_job(connection, "mail", {"by": "psycopg"}).payload == {"by": "psycopg"}
        assert len(adapter.add_jobs(connection, [("mail", None, None)] * 2)) == 2
    [(count,)] = await fetch(database_url, f"select count(*) from {S}._private_jobs")
    assert count == 1 + 5 + 3
    await check_schema(adding.pool, S)


async def test_a_trace_goes_with_a_job_of_a_role_that_only_adds(
    add_url: str, database_url: str
) -> None:
    await execute(
        add_url,
        f"set kongtask.traceparent = 'one'; select {S}._kongtask_add_job('t')",
    )
    rows = await fetch(database_url, f"select traceparent from {S}._private_jobs")
    assert [row["traceparent"] for row in rows] == ["one"]


async def test_a_role_that_only_adds_reads_no_table_and_calls_nothing_else(
    add_url: str, database_url: str
) -> None:
    await execute(database_url, f"select {S}.add_job('t', '\"{SECRET}\"', job_key => 'k')")
    tables = await fetch(
        database_url,
        "select relname from pg_class where relnamespace = $1::regnamespace "
        "and relkind in ('r', 'v') and relname not like '%migrations'",
        S,
    )
    assert len(tables) >= 6
    await refused(
        add_url,
        *(f"select * from {S}.{row['relname']}" for row in tables),
        f"select {S}.add_job('t')",
        f"select {S}.add_jobs(array[json_populate_record(null::{S}.job_spec, '{{}}')])",
        f"select {S}.complete_jobs(array[1::bigint])",
        f"select {S}.permanently_fail_jobs(array[1::bigint])",
        f"select {S}.reschedule_jobs(array[1::bigint])",
        f"select {S}.remove_job('k')",
        f"select {S}.force_unlock_workers(array['p'])",
        f"insert into {S}._private_tasks (identifier) values ('x')",
        f"insert into {S}.migrations (id) values (99)",
    )  # fmt: skip


async def test_what_a_key_leads_to_is_not_shown_to_who_only_adds(
    adding: WorkerUtils, database_url: str
) -> None:
    await execute(
        database_url,
        f"select {S}.add_job('t', '[\"{SECRET}\"]', 'their-queue', job_key => key, "
        f"flags => array['{SECRET}']) from unnest(array['a', 'b', 'c', 'd']) as key",
        f"update {S}._private_jobs set last_error = '{SECRET}', locked_by = '{SECRET}'",
    )
    deduped = await adding.add_job(
        "t", ["x"], TaskSpec(job_key="a", job_key_mode="unsafe_dedupe", flags=["mine"])
    )
    replaced = await adding.add_job("t", ["x"], TaskSpec(job_key="b"))
    kept = await adding.add_jobs(
        [
            ("t", ["x"], TaskSpec(job_key="c", job_key_mode="preserve_run_at")),
            ("t", ["x"], TaskSpec(job_key="d")),
        ]
    )
    for job in (deduped, replaced, *kept):
        assert job.revision == 1
        assert job.payload == ["x"]
        assert SECRET not in repr(job)
    rows = await fetch(database_url, f"select payload::text from {S}._private_jobs order by key")
    assert [row["payload"] for row in rows] == [f'["{SECRET}"]', *[f'["{SECRET}", "x"]'] * 3]


async def test_errors_quote_no_payload_of_others(add_url: str, database_url: str) -> None:
    """Gathering lists reads the waiting job's payload as jsonb, which cannot hold this escape."""
    await execute(
        database_url,
        f"select {S}.add_job('t', '[\"{SECRET}\\u0000\"]', job_key => key) "
        "from unnest(array['a', 'b']) as key",
    )
    calls = (
        f"select {S}._kongtask_add_job('t', '[1]', job_key => 'a')",
        f"select {S}._kongtask_add_jobs(array[json_populate_record(null::{S}.job_spec, "
        '\'{"identifier": "t", "payload": [1], "job_key": "b"}\')])',
    )
    for call in calls:
        with pytest.raises(asyncpg.UntranslatableCharacterError) as said:
            await execute(add_url, call)
        assert SECRET not in repr(said.value.as_dict())
    with pytest.raises(asyncpg.UntranslatableCharacterError) as said:
        await execute(database_url, f"select {S}.add_job('t', '[1]', job_key => 'a')")
    assert SECRET in repr(said.value.as_dict()), "otherwise nothing was hidden above"


async def test_mistakes_of_who_only_adds_are_named_as_anybodys(adding: WorkerUtils) -> None:
    call = f"select {S}._kongtask_add_job('t', max_attempts => 0)"
    with pytest.raises(asyncpg.CheckViolationError) as said:
        await adding.pool.execute(call)
    assert said.value.constraint_name == "jobs_max_attempts_check"
    with pytest.raises(InvalidMaxAttempts):
        await adding.add_job("t", None, TaskSpec(max_attempts=0))
    await adding.add_job("t", ["\0"], TaskSpec(job_key="k"))
    with pytest.raises(InvalidJob, match="cannot hold a value"):
        await adding.add_job("t", ["\0"], TaskSpec(job_key="k"))
    with pytest.raises(DatabaseRefused, match=r"may not do it.*what `kongtask roles` prints"):
        await adding.list_jobs("waiting")


async def test_objects_of_the_caller_do_not_get_the_owners_rights(
    add_url: str, database_url: str
) -> None:
    await execute(
        database_url, "create table taken (by text)", "grant create on schema public to public"
    )
    connection = await asyncpg.connect(add_url)
    try:
        await connection.execute(
            "set search_path = public, pg_catalog; "
            "create function public.unnest(text[]) returns setof text language plpgsql as "
            "'begin insert into public.taken values (current_user); return next ''f''; end'"
        )
        call = f"select {S}._kongtask_add_job('t', flags => array['f'])"
        await connection.execute(call)
        assert await fetch(database_url, "select * from taken") == []
        await execute(
            database_url,
            f"alter function {S}._kongtask_add_job reset search_path",
        )
        await connection.execute(call)
        assert await fetch(database_url, "select * from taken"), "otherwise it was no attack"
    finally:
        await connection.close()


async def test_nobody_else_may_add(database_url: str) -> None:
    async with login_role(database_url) as role:
        await execute(database_url, f"grant usage on schema {S} to {role}")
        async with await WorkerUtils.connect(as_role(database_url, role)) as utils:
            for adding in (utils.add_job("t"), utils.add_jobs([("t", None, None)])):
                with pytest.raises(DatabaseRefused, match="kongtask roles") as said:
                    await adding
                assert said.value.reason == "PermissionDenied"
                assert PASSWORD not in str(said.value)


HOSTILE = [
    ('the "shop"', "it's; drop schema public"),
    ("{schema}{role}", "{role} \\' $$ --"),
    ("new\nline; select 1/0", "-- x\ncommit; select 1/0;"),
    ("ä" * 31, "é" * 31),
]


@pytest.mark.parametrize("schema, role", HOSTILE, ids=["quotes", "braces", "lines", "long"])
async def test_any_names_will_do_and_twice_is_fine(
    database_url: str, schema: str, role: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await run_migrations(connection, schema)
    await connection.close()
    names = [f"w{role}", f"a{role}"]
    async with login_role(database_url, names[0]), login_role(database_url, names[1]):
        for _ in range(2):
            await grant(database_url, worker=names[0], add=names[1], schema=schema)
        async with await WorkerUtils.connect(as_role(database_url, names[1]), schema) as utils:
            await utils.add_job("t")
            await utils.add_jobs([("t", None, None)])
        async with await WorkerUtils.connect(as_role(database_url, names[0]), schema) as utils:
            assert len(await utils.list_jobs("waiting")) == 2


async def test_roles_that_do_not_exist_are_made(database_url: str) -> None:
    names = ["new 'worker'", 'new "web"\\']
    await grant(database_url, worker=names[0], add=names[1])
    try:
        query = "select rolname from pg_roles where rolname = any ($1) and rolcanlogin"
        rows = await fetch(database_url, query, names)
        assert {row["rolname"] for row in rows} == set(names)
    finally:
        for name in map(quote_schema, names):
            await execute(database_url, f"drop owned by {name}", f"drop role {name}")


async def test_an_owner_without_other_rights_migrates_and_grants(empty_database_url: str) -> None:
    url = empty_database_url
    async with login_role(url) as owner, login_role(url) as worker, login_role(url) as web:
        await execute(url, f"create schema {S} authorization {owner}")
        async with asyncpg.create_pool(as_role(url, owner), min_size=0, max_size=1) as pool:
            assert await run_migrations(pool) == GRAPHILE_LEVEL
        await grant(as_role(url, owner), worker=worker, add=web)
        async with await WorkerUtils.connect(as_role(url, web)) as utils:
            await utils.add_job("t", {"a": 1})
        async with await WorkerUtils.connect(as_role(url, worker)) as utils:
            assert [job.payload for job in await utils.list_jobs("waiting")] == [{"a": 1}]


@pytest.mark.parametrize("name", ["", "x" * 64, "a\0b", "pg_monitor", "public", "\udc80"])
def test_names_that_no_role_can_have_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        roles_sql(S, [name])


def test_a_role_cannot_work_and_only_add() -> None:
    with pytest.raises(ConfigurationError, match="'web' cannot both work and only add"):
        roles_sql(S, ["web"], ["web", "other"])

"""The migrated schema is the one that is written down, and carries what KongTask adds to it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from schema_catalog import DUMP, dump

from kongtask.postgres.level import ADDITIONS, FIRST_LEVEL, GRAPHILE_LEVEL
from kongtask.postgres.migrations import FOUNDATION
from kongtask.postgres.statements import DEFAULT_SCHEMA, sql_folder, statement

JOBS = f"{DEFAULT_SCHEMA}._private_jobs"
CONTEXT = f"select traceparent, tracestate from {JOBS} order by id"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_the_schema_is_the_one_that_is_written_down(connection: Any) -> None:
    assert await dump(connection) == DUMP.read_text(encoding="utf-8"), (
        "run `python tests/schema_catalog.py` and look at what changed"
    )


def test_every_script_is_a_step_and_says_why() -> None:
    folder = sql_folder() / "migrations"
    levels = [f"{level:06}" for level in range(FIRST_LEVEL, GRAPHILE_LEVEL + 1)]
    steps = {*levels, *(f"kongtask/{name}" for name in ADDITIONS)}
    steps |= {f"foundation/{name}" for name, _ in FOUNDATION}

    assert {str(file.relative_to(folder).with_suffix("")) for file in scripts()} == steps
    assert [int(name[:4]) for name in ADDITIONS] == list(range(1, len(ADDITIONS) + 1))
    for script in scripts():
        header = script.read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
        assert len(header) >= 1, script
        assert all(line.startswith("-- ") for line in header), script


def scripts() -> list[Path]:
    return sorted((sql_folder() / "migrations").rglob("*.sql"))


async def add(connection: Any, context: str | None = None, **options: object) -> Any:
    """Add the job of key k in a transaction that carries a context."""
    async with connection.transaction():
        if context is not None:
            await connection.execute(
                "select set_config('kongtask.traceparent', $1, true), "
                "set_config('kongtask.tracestate', $1 || '-state', true)",
                context,
            )
        values = {"job_key": "k", **options}
        words = ", ".join(f"{name} => ${at}" for at, name in enumerate(values, 1))
        return await connection.fetchrow(
            f"select * from {DEFAULT_SCHEMA}.add_job('t', {words})", *values.values()
        )


async def contexts(connection: Any) -> list[tuple[str | None, str | None]]:
    return [tuple(row) for row in await connection.fetch(CONTEXT)]


async def test_a_job_takes_the_context_of_its_transaction_and_no_other(connection: Any) -> None:
    await add(connection, "one", job_key=None)
    await add(connection, None, job_key=None)
    await connection.execute(f"insert into {JOBS} (task_id) values (1)")

    assert await contexts(connection) == [("one", "one-state"), (None, None), (None, None)]


async def test_a_trigger_of_the_application_passes_the_context_on(connection: Any) -> None:
    await connection.execute("create table orders (id int)")
    await connection.execute(
        "create function ordered() returns trigger language plpgsql as $$ begin "
        f"perform {DEFAULT_SCHEMA}.add_job('t'); return new; end $$"
    )
    await connection.execute(
        "create trigger ordered after insert on orders for each row execute function ordered()"
    )
    async with connection.transaction():
        await connection.execute("set local kongtask.traceparent = 'request'")
        await connection.execute("insert into orders values (1), (2)")
    await connection.execute("insert into orders values (3)")

    assert await contexts(connection) == [("request", None), ("request", None), (None, None)]


@pytest.mark.parametrize("mode", ["replace", "preserve_run_at"])
async def test_a_job_that_is_replaced_belongs_to_the_trace_that_did_so(
    connection: Any, mode: str
) -> None:
    await add(connection, "one")

    job = await add(connection, "two", job_key_mode=mode)
    assert (job["revision"], job["traceparent"], job["tracestate"]) == (1, "two", "two-state")
    await add(connection, None, job_key_mode=mode)
    assert await contexts(connection) == [(None, None)]


async def test_a_job_that_is_left_as_it_is_keeps_its_trace(connection: Any) -> None:
    await add(connection, "one")

    job = await add(connection, "two", job_key_mode="unsafe_dedupe")

    assert (job["revision"], job["traceparent"], job["tracestate"]) == (1, "one", "one-state")


async def test_running_failing_and_handling_a_job_keep_its_trace(connection: Any) -> None:
    job = await add(connection, "one")
    await connection.execute("set kongtask.traceparent = 'of the worker'")
    ids = [job["id"]]

    fetched = await connection.fetch(
        statement("fetch_jobs", DEFAULT_SCHEMA),
        "pool",
        [job["task_id"]],
        1,
        None,
        1,
        None,
        None,
        None,
        True,
    )
    await connection.fetch(
        statement("fail_jobs", DEFAULT_SCHEMA), "pool", ids, ["no"], [None], [None], [False], [None]
    )
    await connection.fetch(f"select {DEFAULT_SCHEMA}.reschedule_jobs($1, attempts => 0)", ids)
    await connection.fetch(f"select {DEFAULT_SCHEMA}.permanently_fail_jobs($1)", ids)

    assert [row["traceparent"] for row in fetched] == ["one"]
    assert await contexts(connection) == [("one", "one-state")]


async def test_a_job_that_hands_its_key_on_keeps_its_trace(connection: Any) -> None:
    await add(connection, "one")
    await connection.execute(f"update {JOBS} set locked_at = now(), locked_by = 'pool'")

    await add(connection, "two")

    assert await contexts(connection) == [("one", "one-state"), ("two", "two-state")]


async def test_garbage_for_a_context_does_not_break_the_callers_transaction(
    connection: Any,
) -> None:
    garbage = "ö{[" * 1000

    assert (await add(connection, garbage))["traceparent"] == garbage


async def test_counting_what_runs_uses_the_index_of_locked_jobs(connection: Any) -> None:
    await connection.execute(f"insert into {JOBS} (task_id) select 1 from generate_series(1, 5000)")
    await connection.execute(f"update {JOBS} set locked_at = now(), locked_by = 'p' where id < 10")
    await connection.execute(f"vacuum analyze {JOBS}")

    plan = await connection.fetch("explain " + statement("queue_locks", DEFAULT_SCHEMA))

    assert "_kongtask_jobs_locked_index" in "\n".join(row[0] for row in plan)


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("complete_jobs", ("p1", [1, 2])),
        ("return_jobs", ("p1", [1, 2])),
        ("return_unheld", ("p1", [1, 2])),
        ("forget_pool", ("p1",)),
        ("snooze_jobs", ("p1", [1], [None], [timedelta(1)])),
        ("fail_jobs", ("p1", [1], ["no"], [None], [None], [False], [None])),
    ],
)
async def test_a_pool_finds_what_it_holds_by_the_index_of_locked_jobs(
    connection: Any, name: str, arguments: tuple[object, ...]
) -> None:
    await connection.execute(f"insert into {JOBS} (task_id) select 1 from generate_series(1, 5000)")
    await connection.execute(
        f"update {JOBS} set locked_at = now(), locked_by = 'p' || id % 100 where id < 2000"
    )
    await connection.execute(f"vacuum analyze {JOBS}")

    plan = await connection.fetch("explain " + statement(name, DEFAULT_SCHEMA), *arguments)

    text = "\n".join(row[0] for row in plan)
    assert re.search(r"_kongtask_jobs_locked_index.*\n\s+Index Cond: \(hashtext", text), text


PRIVATE = [
    "_private_jobs", "_private_tasks", "_private_job_queues", "_private_known_crontabs",
    "_kongtask_pools",
]  # fmt: skip


async def test_rows_are_hidden_from_roles_that_do_not_own_the_tables(connection: Any) -> None:
    role = f"reader_{uuid4().hex[:8]}"
    await connection.execute(f"select {DEFAULT_SCHEMA}.add_job('t', queue_name => 'q')")
    await connection.execute(f"insert into {DEFAULT_SCHEMA}._kongtask_pools values ('p')")
    await connection.execute(
        f"insert into {DEFAULT_SCHEMA}._private_known_crontabs values ('c', now())"
    )
    async with rolled_back(connection):
        await connection.execute(f"create role {role}")
        await connection.execute(f"grant usage on schema {DEFAULT_SCHEMA} to {role}")
        await connection.execute(f"grant all on all tables in schema {DEFAULT_SCHEMA} to {role}")
        counts = {name: await count(connection, name) for name in PRIVATE}
        assert counts == dict.fromkeys(PRIVATE, 1)
        await connection.execute(f"set local role {role}")

        assert {name: await count(connection, name) for name in PRIVATE} == dict.fromkeys(
            PRIVATE, 0
        )
        assert await count(connection, "migrations") == GRAPHILE_LEVEL


async def count(connection: Any, table: str) -> int:
    return int(await connection.fetchval(f"select count(*) from {DEFAULT_SCHEMA}.{table}"))


class rolled_back:
    """A transaction that leaves nothing behind, not even a role."""

    def __init__(self, connection: Any) -> None:
        self._transaction = connection.transaction()

    async def __aenter__(self) -> None:
        await self._transaction.start()

    async def __aexit__(self, *_: object) -> None:
        await self._transaction.rollback()

"""KongTask's functions do what Graphile Worker's do: the same calls, on two schemas, compared.

Compared is all that can be seen: what a call returns or raises, the tables afterwards, what the
sequences used up, and what listeners hear.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest
from function_cases import CASES, Case
from graphile import Graphile
from postgres_server import run, temporary_database
from waiting import SOMEBODY_WAITS, until

from kongtask.postgres.migrations import run_migrations

OURS, THEIRS = "ours", "theirs"
KONGTASKS = {".add_job(": "._kongtask_add_single(", ".add_jobs(": "._kongtask_add_specs("}
"""What KongTask calls instead of Graphile Worker's functions."""

ORDERED = {"many specs", "a null flag", "specs with a null flag"}
"""Where KongTask's differ: ids are in the order given, and what is refused has used up none."""

CONTEXT = ("traceparent", "tracestate")

JOBS = """
select jobs.*, tasks.identifier, queues.queue_name
from {s}._private_jobs as jobs
left join {s}._private_tasks as tasks on tasks.id = jobs.task_id
left join {s}._private_job_queues as queues on queues.id = jobs.job_queue_id
order by jobs.id
"""
QUEUES = "select queue_name, locked_at, locked_by, is_available from {s}._private_job_queues"
TASKS = "select identifier from {s}._private_tasks"
SEQUENCES = "select sequencename, last_value from pg_sequences where schemaname = '{s}'"


@pytest.fixture(scope="session")
def twins_template(node: Graphile, server_url: str) -> Iterator[str]:
    """The name of a database with both schemas."""
    with temporary_database(server_url) as url:
        run(node.migrate(url, schema=THEIRS))
        run(_migrate_ours(url))
        yield url.rpartition("/")[2]


async def _migrate_ours(url: str) -> None:
    connection = await asyncpg.connect(url)
    await run_migrations(connection, OURS)
    await connection.close()


@pytest.fixture
def twins_url(server_url: str, twins_template: str) -> Iterator[str]:
    with temporary_database(server_url, twins_template) as url:
        yield url


@pytest.fixture
async def twins(twins_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(twins_url)
    yield connection
    await connection.close()


GROUP = 40
GROUPS = [CASES[at : at + GROUP] for at in range(0, len(CASES), GROUP)]


@pytest.mark.parametrize("cases", GROUPS, ids=[f"from {cases[0][0]}" for cases in GROUPS])
@pytest.mark.parametrize("names", [{}, KONGTASKS], ids=["by their names", "by KongTask's"])
async def test_both_do_the_same(twins: Any, cases: list[Case], names: dict[str, str]) -> None:
    differences = []
    for name, statements in cases:
        if names and name in ORDERED:
            continue
        called = [renamed(each, names) for each in statements]
        ours = await Seen(twins, OURS).of(called)
        theirs = await Seen(twins, THEIRS).of(statements)
        if ours != theirs:
            differences.append(f"{name}\n ours   {ours}\n theirs {theirs}")
    assert not differences, "\n".join(differences)


def renamed(statement: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        statement = statement.replace(old, new)
    return statement


@pytest.mark.parametrize(
    "schema, function",
    [(OURS, "add_job"), (OURS, "_kongtask_add_single"), (THEIRS, "add_job")],
    ids=["ours", "KongTask's", "theirs"],
)
async def test_a_keyed_job_that_is_taken_while_it_is_replaced_is_left_to_its_worker(
    twins: Any, twins_url: str, schema: str, function: str
) -> None:
    await twins.execute(f"select {schema}.add_job('a', '1', job_key => 'k')")
    worker, adder = await asyncpg.connect(twins_url), await asyncpg.connect(twins_url)
    taking = worker.transaction()
    await taking.start()
    await worker.execute(f"update {schema}._private_jobs set locked_at = now()")
    adding = asyncio.create_task(
        adder.fetchrow(f"select id, key from {schema}.{function}('a', '2', job_key => 'k')")
    )
    await until(lambda: twins.fetchval(SOMEBODY_WAITS))
    await taking.commit()
    assert tuple(await adding) == (None, None)
    await worker.close()
    await adder.close()
    rows = await twins.fetch(f"select payload::text, key, revision from {schema}._private_jobs")
    assert [tuple(row) for row in rows] == [("1", "k", 0)]


def test_the_cases_have_names_of_their_own() -> None:
    assert len({name for name, _ in CASES}) == len(CASES) > 250


class Seen:
    """Everything that can be seen of some statements in one schema."""

    def __init__(self, connection: Any, schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._heard: list[object] = []
        self._end = asyncio.Event()

    async def of(self, statements: list[str]) -> list[object]:
        await self._clear()
        await self._connection.add_listener("jobs:insert", self._hear)
        seen = [await self._statement(text) for text in statements]
        seen += [await self._rows(query) for query in (JOBS, QUEUES, TASKS, SEQUENCES)]
        await self._connection.execute("notify \"jobs:insert\", 'end'")
        await asyncio.wait_for(self._end.wait(), 30)
        await self._connection.remove_listener("jobs:insert", self._hear)
        return [*seen, self._heard]

    async def _clear(self) -> None:
        tables = ("_private_jobs", "_private_job_queues", "_private_tasks")
        names = ", ".join(f"{self._schema}.{table}" for table in tables)
        await self._connection.execute(f"truncate {names} restart identity")

    async def _statement(self, text: str) -> object:
        try:
            return await self._rows(text)
        except asyncpg.SyntaxOrAccessError:
            raise  # the case itself is wrong
        except asyncpg.PostgresError as error:
            return (error.sqlstate, error.constraint_name, error.column_name)

    async def _rows(self, text: str) -> list[dict[str, object]]:
        rows = await self._connection.fetch(text.format(s=self._schema))
        now = await self._connection.fetchval("select now()")
        found = [{key: plain(value, now) for key, value in row.items()} for row in rows]
        for row in found:
            # A database without any context is like one that has no place for it.
            assert [row.pop(name, None) for name in CONTEXT] == [None, None]
        return sorted(found, key=json.dumps)

    def _hear(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        if payload == "end":
            self._end.set()
            return
        heard = json.loads(str(payload)) if payload else ""
        if heard:
            assert 0 <= heard.pop("r") < 1
        self._heard.append(heard)


def plain(value: object, now: datetime) -> object:
    """Return a value that does not depend on when the test runs."""
    if not isinstance(value, datetime):
        return value
    age = now - value
    if abs(age) < timedelta(minutes=5):
        return "now"
    return f"{age}"[:4] if abs(age) < timedelta(days=1) else value.isoformat()

"""The context in the table: each way of adding a job leaves its own, and nothing in the session."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanContext, StatusCode
from recorded_spans import Recorded

from kongtask.core.task_spec import TaskSpec
from kongtask.core.trace_context import TraceContext
from kongtask.errors import ConfigurationError, InvalidJob
from kongtask.postgres.enqueue import JobQueue
from kongtask.tracing import Tracing

SCHEMA = "graphile_worker"
KEPT = f'select key, traceparent, tracestate from "{SCHEMA}"._private_jobs order by id'
ADD_BY_SQL = f"select id from {SCHEMA}.add_job('mail')"
LEFT = """select current_setting('kongtask.traceparent', true) as traceparent,
                 current_setting('kongtask.tracestate', true) as tracestate"""


@pytest.fixture
def queue(pool: asyncpg.Pool[Any], tracing: Tracing) -> JobQueue:
    return JobQueue(pool, SCHEMA, tracing)


def as_text(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


async def test_a_job_keeps_the_span_that_added_it(
    queue: JobQueue, pool: asyncpg.Pool[Any], recorded: Recorded, provider: TracerProvider
) -> None:
    with provider.get_tracer("test").start_as_current_span("request") as request:
        job = await queue.add_job("mail", {"to": "ann"})

    span = recorded.one("add_job mail")
    row = await pool.fetchrow(KEPT)
    assert span.parent == request.get_span_context()
    assert row["traceparent"] == job.traceparent == as_text(span.context)
    assert row["tracestate"] is None
    assert span.attributes["messaging.message.id"] == str(job.id)


async def test_without_tracing_a_job_keeps_nothing(pool: asyncpg.Pool[Any]) -> None:
    await JobQueue(pool, SCHEMA, Tracing()).add_job("mail")

    row = await pool.fetchrow(KEPT)
    assert (row["traceparent"], row["tracestate"]) == (None, None)


@pytest.mark.parametrize("mode", [None, "preserve_run_at"])
async def test_a_job_replaced_by_its_key_keeps_the_new_span(
    queue: JobQueue, pool: asyncpg.Pool[Any], recorded: Recorded, mode: Any
) -> None:
    await queue.add_job("mail", spec=TaskSpec(job_key="k"))
    await queue.add_job("mail", spec=TaskSpec(job_key="k", job_key_mode=mode))

    first, second = recorded.all()
    (row,) = await pool.fetch(KEPT)
    assert row["traceparent"] == as_text(second.context) != as_text(first.context)


async def test_a_replaced_job_that_nobody_traced_loses_the_old_span(
    queue: JobQueue, pool: asyncpg.Pool[Any]
) -> None:
    await queue.add_job("mail", spec=TaskSpec(job_key="k"))
    await JobQueue(pool, SCHEMA, Tracing()).add_job("mail", spec=TaskSpec(job_key="k"))

    (row,) = await pool.fetch(KEPT)
    assert row["traceparent"] is None


@pytest.mark.parametrize("count, state", [(10, None), (11, "kongtask=l")], ids=["few", "many"])
async def test_every_job_of_a_batch_keeps_the_batch_span(
    queue: JobQueue, pool: asyncpg.Pool[Any], recorded: Recorded, count: int, state: str | None
) -> None:
    keyed = TaskSpec(job_key="k", job_key_mode="unsafe_dedupe")
    await pool.execute(f"select {SCHEMA}.add_job('mail', job_key => 'gone')")
    await pool.execute(f"select {SCHEMA}.remove_job('gone')")

    await queue.add_jobs([("mail", None, None)] * (count - 1) + [("mail", None, keyed)])

    span = recorded.one("add_jobs mail")
    rows = await pool.fetch(KEPT)
    assert len(rows) == count
    assert {row["traceparent"] for row in rows} == {as_text(span.context)}
    assert {row["tracestate"] for row in rows} == {state}


async def test_a_job_of_a_batch_reads_back_as_a_link(queue: JobQueue, recorded: Recorded) -> None:
    jobs = await queue.add_jobs([("mail", None, None)] * 11)

    context = TraceContext(jobs[0].traceparent, jobs[0].tracestate)
    assert context.hint() == "link"


async def test_nothing_stays_behind_in_a_session_that_others_use_next(
    database_url: str, tracing: Tracing
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        queue = JobQueue(connection, SCHEMA, tracing)
        await queue.add_job("mail")
        await queue.add_jobs([("mail", None, None)] * 11)
        left = await connection.fetchrow(LEFT)
        by_sql = await connection.fetchval(ADD_BY_SQL)
        kept = await connection.fetchrow(KEPT.replace("order", f"where id = {by_sql} order"))
    finally:
        await connection.close()

    assert not left["traceparent"]
    assert not left["tracestate"]
    assert kept["traceparent"] is None


async def test_a_batch_that_fails_leaves_nothing_behind(
    database_url: str, tracing: Tracing
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        queue = JobQueue(connection, SCHEMA, tracing)
        await connection.execute(f"alter table {SCHEMA}._private_jobs add check (priority <> 77)")
        with pytest.raises(InvalidJob):
            await queue.add_jobs([("mail", {}, TaskSpec(priority=77))])
        left = await connection.fetchrow(LEFT)
    finally:
        await connection.close()

    assert not left["traceparent"]


async def test_a_failure_of_postgres_is_named_by_its_code(
    pool: asyncpg.Pool[Any], tracing: Tracing, recorded: Recorded
) -> None:
    with pytest.raises(ConfigurationError):
        await JobQueue(pool, "nowhere", tracing).add_job("mail")

    span = recorded.one("add_job mail")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] in ("3F000", "42883")


async def test_the_payload_is_in_no_span(queue: JobQueue, recorded: Recorded) -> None:
    await queue.add_job("mail", {"card": "4111"})
    await queue.add_jobs([("mail", {"card": "4111"}, None)])

    assert "4111" not in json.dumps([span.to_json() for span in recorded.all()])

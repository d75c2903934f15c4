"""The jobs that come back are those in the table, as they are over asyncpg."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeAlias

import asyncpg
import pytest
from callers import Application, Caller
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kongtask.core import new_job
from kongtask.core.job import Job
from kongtask.core.new_job import NewJob
from kongtask.core.task_spec import TaskSpec
from kongtask.postgres.migrations import run_migrations
from kongtask.postgres.records import job_from_record

Pool: TypeAlias = "asyncpg.Pool[Any]"

LATER = datetime(2031, 6, 1, 12, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
ODD_SCHEMA = '50%s "off" $1 :x {schema} 🎉'
TABLE = """
select jobs.id, tasks.identifier as task_identifier, queues.queue_name,
    jobs.payload::text as payload_json, jobs.priority, jobs.run_at, jobs.attempts,
    jobs.max_attempts, jobs.last_error, jobs.created_at, jobs.updated_at, jobs.key, jobs.revision,
    jobs.locked_at, jobs.locked_by, jobs.flags::text as flags_json, jobs.traceparent,
    jobs.tracestate
from graphile_worker._private_jobs as jobs
join graphile_worker._private_tasks as tasks on tasks.id = jobs.task_id
left join graphile_worker._private_job_queues as queues on queues.id = jobs.job_queue_id
"""
FULL = TaskSpec(
    queue_name="out ✉", run_at=LATER, priority=-7, max_attempts=3, job_key="k'\\\"%s",
    flags=["b", 'a"\\{,'],
)  # fmt: skip
JOBS: dict[str, NewJob] = {
    "defaults": ("mail", None, None),
    "every option": ("send%mail", {"to": "ann@example.com", "%s": "$1 :x ::y 100%"}, FULL),
    "no flags": ("mail", [1, None, "é🎉"], TaskSpec(flags=[])),
    "escapes": ("mail", "a\0b \\ \" ' \ud800", None),
}


async def in_table(pool: Pool) -> dict[int, Job]:
    return {row["id"]: job_from_record(row) for row in await pool.fetch(TABLE)}


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS.keys())
async def test_one_job_is_the_row_it_became(
    autocommitting: Caller, pool: Pool, job: NewJob
) -> None:
    task, payload, spec = job
    added = await autocommitting.add_job(task, payload, spec)

    assert (await in_table(pool))[added.id] == added
    assert (added.task_identifier, added.payload) == (task, {} if payload is None else payload)
    assert added.created_at.tzinfo is UTC
    if spec is not None and spec.run_at is not None:
        assert (added.run_at, added.run_at.tzinfo) == (LATER, UTC)


async def test_many_jobs_are_their_rows_in_the_order_given(
    autocommitting: Caller, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_job, "CHUNK_JOBS", 7)
    modes: list[Any] = [None, "preserve_run_at", "unsafe_dedupe", "replace"]
    jobs: list[NewJob] = [
        (f"task {n % 3}", {"n": n}, TaskSpec(job_key=f"k{n}", job_key_mode=modes[n % 4]))
        for n in range(20)
    ]
    jobs += JOBS.values()
    added = await autocommitting.add_jobs(iter(jobs))

    assert [job.payload for job in added] == [{} if p is None else p for _, p, _ in jobs]
    assert [job.task_identifier for job in added] == [task for task, _, _ in jobs]
    assert {job.id: job for job in added} == await in_table(pool)


async def test_many_jobs_need_not_come_back(autocommitting: Caller, pool: Pool) -> None:
    assert await autocommitting.add_jobs(JOBS.values(), return_jobs=False) == []
    assert len(await in_table(pool)) == len(JOBS)


async def test_a_job_that_waits_for_ever_can_come_back(autocommitting: Caller, pool: Pool) -> None:
    await pool.execute(
        "select graphile_worker.add_job('mail', job_key => 'k', run_at => 'infinity')"
    )
    again = TaskSpec(job_key="k", job_key_mode="unsafe_dedupe")

    assert (await autocommitting.add_job("mail", spec=again)).run_at.year == 9999


async def test_a_job_lost_in_a_race_is_added_again(autocommitting: Caller, pool: Pool) -> None:
    await pool.execute("""
        create sequence graphile_worker.calls;
        alter function graphile_worker._kongtask_add_specs rename to steady_add_specs;
        create function graphile_worker._kongtask_add_specs(
            specs graphile_worker.job_spec[], job_key_preserve_run_at boolean default false
        ) returns setof graphile_worker._private_jobs language plpgsql as $$
        begin
            if nextval('graphile_worker.calls') % 3 = 0 then
                return query select *
                from graphile_worker.steady_add_specs(specs, job_key_preserve_run_at);
            end if;
        end $$;
    """)
    one = await autocommitting.add_job("mail", spec=TaskSpec(job_key="k"))
    (many,) = await autocommitting.add_jobs([("mail", "a\0b", TaskSpec(job_key="l"))])

    assert await in_table(pool) == {one.id: one, many.id: many}
    assert await pool.fetchval("select last_value from graphile_worker.calls") == 6


async def test_the_schema_may_have_any_name(application: Application, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await run_migrations(connection, ODD_SCHEMA)
    finally:
        await connection.close()

    async with application(database_url, autocommit=True) as caller:
        one = await caller.add_job("mail", schema=ODD_SCHEMA)
        (many,) = await caller.add_jobs([("mail", None, None)], schema=ODD_SCHEMA)
    assert (one.id, many.id) == (1, 2)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield memory
    provider.shutdown()


async def test_the_span_that_adds_is_kept_with_the_job(
    memory: InMemorySpanExporter, autocommitting: Caller, pool: Pool
) -> None:
    one = await autocommitting.add_job("mail")
    many = await autocommitting.add_jobs([("bill", None, None)] * 11)

    first, second = memory.get_finished_spans()
    assert (first.name, second.name) == ("add_job mail", "add_jobs bill")
    assert first.attributes["messaging.message.id"] == str(one.id)
    assert second.attributes["messaging.batch.message_count"] == 11
    for span, jobs in [(first, [one]), (second, many)]:
        trace_id, span_id = span.context.trace_id, span.context.span_id
        kept = {job.traceparent.rpartition("-")[0] for job in jobs}
        assert kept == {f"00-{trace_id:032x}-{span_id:016x}"}
    assert {job.id: job for job in [one, *many]} == await in_table(pool)
    assert not trace.get_current_span().get_span_context().is_valid


async def test_the_span_names_the_server(
    memory: InMemorySpanExporter, autocommitting: Caller, request: pytest.FixtureRequest
) -> None:
    await autocommitting.add_job("mail")

    (span,) = memory.get_finished_spans()
    told = "server.address" in span.attributes
    assert told is ("[asyncpg]" not in request.node.name)
    if told:
        assert span.attributes["server.address"] == "127.0.0.1"

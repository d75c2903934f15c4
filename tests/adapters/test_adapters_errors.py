"""What PostgreSQL or a driver refuses becomes the same errors over every driver."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, TypeAlias

import asyncpg
import pytest
from callers import Caller
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kongtask.core.new_job import NewJob
from kongtask.core.task_spec import TaskSpec
from kongtask.errors import ConfigurationError, InvalidJob, StoreUnavailable

Pool: TypeAlias = "asyncpg.Pool[Any]"

TIGHTER = """
alter table graphile_worker._private_tasks drop constraint tasks_identifier_check;
alter table graphile_worker._private_tasks
    add constraint tasks_identifier_check check (length(identifier) <= 4);
alter table graphile_worker._private_job_queues drop constraint job_queues_queue_name_check;
alter table graphile_worker._private_job_queues
    add constraint job_queues_queue_name_check check (length(queue_name) <= 4);
alter table graphile_worker._private_jobs drop constraint jobs_key_check;
alter table graphile_worker._private_jobs
    add constraint jobs_key_check check (length(key) <= 4);
alter table graphile_worker._private_jobs drop constraint jobs_max_attempts_check;
alter table graphile_worker._private_jobs
    add constraint jobs_max_attempts_check check (max_attempts >= 3);
"""
REFUSED: dict[str, tuple[NewJob, tuple[object, ...]]] = {
    "task": (("mails", None, None), ("GWBID", "task", "mails", 128)),
    "queue": (
        ("mail", None, TaskSpec(queue_name="queue")),
        ("GWBQN", "queue_name", "queue", 128),
    ),
    "key": (("mail", None, TaskSpec(job_key="a key")), ("GWBJK", "job_key", "a key", 512)),
    "attempts": (
        ("mail", None, TaskSpec(max_attempts=2)),
        ("GWBMA", "max_attempts", 2, 32767),
    ),
}
FINE: NewJob = ("mail", None, TaskSpec(queue_name="slow", max_attempts=9))
SECRET = {"card": "a card's number"}
END_OTHERS = """
select pg_terminate_backend(pid, 10000) from pg_stat_activity
where datname = current_database() and state = 'idle in transaction'
"""
REFUSING = """
create function refuse() returns trigger language plpgsql as $$
begin
    raise exception 'not today';
end $$;
create trigger refuse before insert on graphile_worker._private_jobs
    for each row execute function refuse();
"""


def said(error: InvalidJob) -> tuple[object, ...]:
    return (error.code, error.field, error.value, error.limit)


@pytest.mark.parametrize("job, expected", REFUSED.values(), ids=REFUSED.keys())
async def test_what_only_postgres_refuses_names_the_job_all_the_same(
    caller: Caller, pool: Pool, job: NewJob, expected: tuple[object, ...]
) -> None:
    await pool.execute(TIGHTER)
    with pytest.raises(InvalidJob) as alone:
        async with caller.transaction():
            await caller.add_job(*job)
    with pytest.raises(InvalidJob) as among_others:
        async with caller.transaction():
            await caller.add_jobs([FINE, FINE, job, FINE])

    assert said(alone.value) == said(among_others.value) == expected
    assert (alone.value.position, among_others.value.position) == (None, 2)
    assert str(alone.value).startswith(f"{expected[0]}: PostgreSQL refused {expected[1]}")


async def test_a_refusal_of_many_leaves_the_transaction_usable(caller: Caller, pool: Pool) -> None:
    await pool.execute(TIGHTER)
    async with caller.transaction():
        await caller.add_job("mail")
        with pytest.raises(InvalidJob):
            await caller.add_jobs([("mail", None, None), ("mails", None, None)])
        await caller.add_job("bill")

    assert await pool.fetchval("select count(*) from graphile_worker.jobs") == 2


async def go_on_after_a_refusal(caller: Caller) -> None:
    async with caller.transaction():
        with pytest.raises(InvalidJob):
            await caller.add_job("mails")
        await caller.add_job("mail")


async def test_a_refusal_of_one_fails_the_transaction_but_not_around_a_savepoint(
    caller: Caller, pool: Pool
) -> None:
    await pool.execute(TIGHTER)
    async with caller.transaction():
        await caller.add_job("mail")
        with pytest.raises(InvalidJob):
            async with caller.savepoint():
                await caller.add_job("mails")
        await caller.add_job("bill")
    with pytest.raises(caller.errors, match="current transaction is aborted"):
        await go_on_after_a_refusal(caller)

    assert await pool.fetchval("select count(*) from graphile_worker.jobs") == 2


async def test_a_schema_without_tables_names_the_way_out(caller: Caller) -> None:
    with pytest.raises(ConfigurationError, match="run `kongtask migrate -s nowhere`"):
        async with caller.transaction():
            await caller.add_job("mail", schema="nowhere")


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_a_lost_connection_is_named_so(caller: Caller, pool: Pool, many: bool) -> None:
    lost: list[StoreUnavailable] = []
    with suppress(Exception):  # what the end of a lost transaction raises is the driver's affair
        async with caller.transaction():
            await caller.add_job("mail")
            await pool.execute(END_OTHERS)
            try:
                await (caller.add_jobs([FINE, FINE]) if many else caller.add_job("mail"))
            except StoreUnavailable as error:
                lost.append(error)

    assert [str(error).partition(":")[0] for error in lost] == [
        "the connection to PostgreSQL was lost"
    ]
    assert await pool.fetchval("select count(*) from graphile_worker.jobs") == 0


async def test_another_error_is_the_drivers_own_and_shows_no_payload(
    caller: Caller, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    await pool.execute(REFUSING)
    with pytest.raises(caller.errors, match="not today") as one:
        async with caller.transaction():
            await caller.add_job("mail", SECRET)
    with pytest.raises(caller.errors, match="not today") as many:
        async with caller.transaction():
            await caller.add_jobs([("mail", SECRET, None)])
    provider.shutdown()

    spans = memory.get_finished_spans()
    assert [span.attributes["error.type"] for span in spans] == ["P0001", "P0001"]
    seen = json.dumps([str(one.value), str(many.value), *(span.to_json() for span in spans)])
    assert SECRET["card"] not in seen

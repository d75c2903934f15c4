"""Each attempt that a pool of workers makes has one span, and it says what the table says."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from waiting import until
from worker_words import Heard, assert_nothing_left, options

from kongtask import (
    Helpers,
    ShutdownTimeout,
    TaskSpec,
    ThreadHelpers,
    WorkerUtils,
    run_task_list,
    run_task_list_once,
)

Pool: TypeAlias = "asyncpg.Pool[Any]"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Where the spans of this process go, for one test."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield memory
    provider.shutdown()


def consumed(memory: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in memory.get_finished_spans() if span.kind is SpanKind.CONSUMER]


def told(span: ReadableSpan, name: str) -> Any:
    assert span.attributes is not None
    return span.attributes.get(name)


async def good(payload: object, helpers: Helpers) -> None:
    return None


def threaded(payload: object, helpers: ThreadHelpers) -> None:
    helpers.add_job("good")


async def bad(payload: object, helpers: Helpers) -> None:
    raise ValueError("no such address")


async def test_every_attempt_has_one_span_with_its_outcome(
    pool: Pool, memory: InMemorySpanExporter
) -> None:
    utils = WorkerUtils(pool)
    heard = Heard()
    await utils.add_job("good")
    await utils.add_job("threaded")
    await utils.add_job("bad", spec=TaskSpec(max_attempts=1))
    await utils.add_job("bad", spec=TaskSpec(max_attempts=2))
    tasks = {"good": good, "threaded": threaded, "bad": bad}
    await run_task_list_once(tasks, pool, options(events=heard.bus, concurrency=3))

    spans = consumed(memory)
    outcomes = sorted((span.name, told(span, "kongtask.job.outcome")) for span in spans)
    assert outcomes == [
        ("process bad", "failed"), ("process bad", "retry"), ("process good", "success"),
        ("process good", "success"), ("process threaded", "success"),
    ]  # fmt: skip
    runs = {str(data.job.id): data for data in heard.data("job:complete")}
    for span in spans:
        run = runs[told(span, "messaging.message.id")]
        assert told(span, "kongtask.job.outcome") == run.outcome.kind
        assert told(span, "messaging.client.id") == run.worker_id
        assert (span.status.status_code is StatusCode.ERROR) == (run.error is not None)


async def test_a_job_that_a_thread_adds_belongs_to_the_attempt_that_added_it(
    pool: Pool, memory: InMemorySpanExporter
) -> None:
    await WorkerUtils(pool).add_job("threaded")
    await run_task_list_once({"good": good, "threaded": threaded}, pool, options())
    spans = {span.name: span for span in memory.get_finished_spans()}
    chain = ["add_job threaded", "process threaded", "add_job good", "process good"]
    for parent, child in itertools.pairwise(chain):
        found = spans[child].parent
        assert found is not None
        assert found.span_id == spans[parent].get_span_context().span_id


async def test_a_job_that_is_cut_off_is_released_in_its_span(
    pool: Pool, memory: InMemorySpanExporter
) -> None:
    started = asyncio.Event()

    async def hang(payload: object, helpers: Helpers) -> None:
        started.set()
        await asyncio.Event().wait()

    await WorkerUtils(pool).add_job("hang")
    workers = await run_task_list({"hang": hang}, pool, options(drain_timeout=timedelta(0)))
    await started.wait()
    with pytest.raises(ShutdownTimeout):
        await workers.release()
    [span] = consumed(memory)
    assert told(span, "kongtask.job.outcome") == "released"
    assert span.status.status_code is not StatusCode.ERROR


async def test_the_span_in_which_a_pool_is_started_is_no_jobs_parent(
    pool: Pool, memory: InMemorySpanExporter
) -> None:
    """Else one trace would hold all that a worker does as long as it lives."""
    heard = Heard()
    with trace.get_tracer("test").start_as_current_span("start up") as outer:
        workers = await run_task_list({"good": good}, pool, options(events=heard.bus))
    await WorkerUtils(pool).add_job("good")
    await until(lambda: heard.data("job:complete"))
    await workers.release()
    [span] = consumed(memory)
    assert span.get_span_context().trace_id != outer.get_span_context().trace_id
    await assert_nothing_left(pool)

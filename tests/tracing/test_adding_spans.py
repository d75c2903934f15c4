"""The span in which jobs are added, and what of it is kept with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from recorded_spans import Recorded
from trace_jobs import DSN

from kongtask.core.task_spec import TaskSpec
from kongtask.core.trace_context import TraceContext
from kongtask.errors import InvalidJob, StoreUnavailable
from kongtask.tracing import Tracing

BASE = {
    "messaging.system": "kongtask",
    "messaging.operation.type": "send",
    "server.address": "db.example",
    "server.port": 5433,
}
SPEC = TaskSpec(queue_name="out", priority=2, max_attempts=5, job_key="k")


@pytest.mark.parametrize(
    "tasks, spec, ids, name, attributes",
    [
        pytest.param(
            ["mail"], TaskSpec(), [7], "add_job mail",
            {
                "messaging.operation.name": "add_job",
                "messaging.destination.name": "mail",
                "messaging.message.id": "7",
            },
            id="one job",
        ),
        pytest.param(
            ["mail"], SPEC, [7], "add_job mail",
            {
                "messaging.operation.name": "add_job",
                "messaging.destination.name": "mail",
                "messaging.message.id": "7",
                "kongtask.job.queue_name": "out",
                "kongtask.job.priority": 2,
                "kongtask.job.max_attempts": 5,
                "kongtask.job.key": "k",
                "kongtask.job.key_mode": "replace",
            },
            id="one job with options",
        ),
        pytest.param(
            ["mail", "mail"], None, [7, 8], "add_jobs mail",
            {
                "messaging.operation.name": "add_jobs",
                "messaging.destination.name": "mail",
                "messaging.batch.message_count": 2,
                "kongtask.job.tasks": ("mail",),
            },
            id="a batch of one task",
        ),
        pytest.param(
            ["mail", "bill"], None, [7, 8], "add_jobs",
            {
                "messaging.operation.name": "add_jobs",
                "messaging.batch.message_count": 2,
                "kongtask.job.tasks": ("mail", "bill"),
            },
            id="a mixed batch",
        ),
        pytest.param(
            ["mail"], None, [7], "add_jobs mail",
            {
                "messaging.operation.name": "add_jobs",
                "messaging.destination.name": "mail",
                "messaging.batch.message_count": 1,
                "messaging.message.id": "7",
                "kongtask.job.tasks": ("mail",),
            },
            id="a batch of one",
        ),
        pytest.param(
            [f"t{n}" for n in range(12)], None, range(12), "add_jobs",
            {
                "messaging.operation.name": "add_jobs",
                "messaging.batch.message_count": 12,
                "kongtask.job.tasks": tuple(f"t{n}" for n in range(10)),
            },
            id="more tasks than a span names",
        ),
    ],
)  # fmt: skip
def test_what_the_span_says(
    tracing: Tracing,
    recorded: Recorded,
    tasks: Sequence[str],
    spec: TaskSpec | None,
    ids: Sequence[int],
    name: str,
    attributes: dict[str, Any],
) -> None:
    with tracing.adding(tasks, spec) as adding:
        adding.added(ids)

    span = recorded.one(name)
    assert span.kind is SpanKind.PRODUCER
    assert dict(span.attributes) == BASE | attributes
    assert span.status.status_code is StatusCode.UNSET


def test_a_job_for_later_says_how_much_later(tracing: Tracing, recorded: Recorded) -> None:
    with tracing.adding(["mail"], TaskSpec(run_at=datetime.now(UTC) + timedelta(hours=1))):
        pass

    assert 3590 < recorded.one("add_job mail").attributes["kongtask.job.delay_s"] <= 3600


@pytest.mark.parametrize(
    "count, hint", [(10, None), (11, "link")], ids=["few stay in the trace", "many get a link"]
)
def test_what_is_kept_with_the_jobs_is_the_span(
    tracing: Tracing, recorded: Recorded, provider: TracerProvider, count: int, hint: str | None
) -> None:
    with provider.get_tracer("test").start_as_current_span("request") as request:
        with tracing.adding(["mail"] * count, None) as adding:
            current = get_current_span().get_span_context()
        assert get_current_span() is request

    span = recorded.one("add_jobs mail")
    origin = adding.context.origin()
    assert span.parent == request.get_span_context()
    assert span.context == current
    assert origin is not None
    assert (origin.trace_id, origin.span_id) == (current.trace_id, current.span_id)
    assert adding.context.hint() == hint


def sql_error(code: str) -> BaseException:
    error = asyncpg.PostgresError(f"the server of {DSN} said no")
    error.sqlstate = code
    return error


def caused_by(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def circle() -> BaseException:
    error = StoreUnavailable("round and round")
    error.__cause__ = error
    return error


@pytest.mark.parametrize(
    "error, error_type",
    [
        pytest.param(sql_error("40001"), "40001", id="of Postgres"),
        pytest.param(
            caused_by(InvalidJob("no"), sql_error("23514")), "23514", id="a translated one"
        ),
        pytest.param(
            caused_by(StoreUnavailable("away"), OSError("refused")),
            "kongtask.errors.StoreUnavailable",
            id="no answer of Postgres",
        ),
        pytest.param(circle(), "kongtask.errors.StoreUnavailable", id="its own cause"),
        pytest.param(asyncio.CancelledError(), "asyncio.exceptions.CancelledError", id="cancelled"),
    ],
)
def test_a_failure_names_its_kind_and_no_secret(
    tracing: Tracing, recorded: Recorded, error: BaseException, error_type: str
) -> None:
    with pytest.raises(type(error)), tracing.adding(["mail"], TaskSpec()):
        raise error

    span = recorded.one("add_job mail")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == error_type
    assert "hunter2" not in span.to_json()
    assert not get_current_span().get_span_context().is_valid


def test_a_name_that_cannot_be_encoded_spoils_no_batch(
    tracing: Tracing, recorded: Recorded
) -> None:
    with tracing.adding(["ma\ud800il"], TaskSpec(job_key="x" * 100_000)) as adding:
        assert isinstance(adding.context, TraceContext)

    (span,) = recorded.all()
    assert span.name == "add_job ma\\ud800il"
    assert len(span.attributes["kongtask.job.key"]) <= 512

"""One span an attempt: where it belongs, what it says, and that it never gets in the way."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from recorded_spans import Recorded
from trace_jobs import DSN, NOW, SAMPLED, SPAN, TRACE, UNSAMPLED, a_job

from kongtask.core.attempt import RELEASED, SUCCESS, Outcome, failure
from kongtask.core.job import Job
from kongtask.core.task_spec import TaskSpec
from kongtask.tracing import Processing, Tracing

SOON = timedelta(seconds=5)


def run(tracing: Tracing, job: Job, outcome: Outcome | None = SUCCESS) -> None:
    with tracing.processing(job, worker_id="worker-1", now=NOW) as attempt:
        if outcome is not None:
            attempt.finish(outcome)


def raised(error: BaseException) -> BaseException:
    """The exception, as it is after it was raised."""
    try:
        raise error
    except BaseException as caught:
        return caught


def event_names(span: ReadableSpan) -> list[str]:
    return [event.name for event in span.events]


@pytest.mark.parametrize(
    "changes, related",
    [
        pytest.param({}, "child", id="a first attempt, soon"),
        pytest.param({"attempts": 2}, "link", id="a retry"),
        pytest.param({"revision": 1}, "link", id="replaced by its key"),
        pytest.param({"created_at": NOW - timedelta(days=3)}, "link", id="put off for days"),
        pytest.param({"tracestate": "kongtask=l,a=1"}, "link", id="one of a bulk"),
        pytest.param({"attempts": 3, "tracestate": "kongtask=c"}, "child", id="asked for a child"),
        pytest.param({"tracestate": "not a state"}, "child", id="with a broken state"),
    ],
)
def test_an_attempt_is_tied_to_the_span_that_added_its_job(
    tracing: Tracing, recorded: Recorded, changes: dict[str, Any], related: str
) -> None:
    run(tracing, a_job(traceparent=SAMPLED, **changes))

    span = recorded.one("process mail")
    (link,) = span.links
    assert (link.context.trace_id, link.context.span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert "kongtask" not in link.context.trace_state
    assert span.attributes["kongtask.job.relation"] == related
    if related == "child":
        assert span.parent == link.context
        assert span.context.trace_id == int(TRACE, 16)
    else:
        assert span.parent is None
        assert span.context.trace_id != int(TRACE, 16)


def test_the_state_is_handed_on_without_our_member(tracing: Tracing, recorded: Recorded) -> None:
    run(tracing, a_job(traceparent=SAMPLED, tracestate="a=1,kongtask=c"))

    assert dict(recorded.one("process mail").context.trace_state) == {"a": "1"}


@pytest.mark.parametrize("traceparent", [None, "garbage"], ids=["none stored", "garbage stored"])
def test_a_job_of_cron_or_sql_is_a_root(
    tracing: Tracing, recorded: Recorded, traceparent: str | None
) -> None:
    run(tracing, a_job(traceparent=traceparent))

    span = recorded.one("process mail")
    assert span.parent is None
    assert not span.links
    assert "kongtask.job.relation" not in span.attributes


def test_a_span_that_is_current_stays_the_parent(
    tracing: Tracing, recorded: Recorded, provider: TracerProvider
) -> None:
    with provider.get_tracer("test").start_as_current_span("request") as request:
        run(tracing, a_job(traceparent=SAMPLED))

    span = recorded.one("process mail")
    assert span.parent == request.get_span_context()
    assert [link.context.span_id for link in span.links] == [int(SPAN, 16)]
    assert span.attributes["kongtask.job.relation"] == "link"


def test_a_span_says_what_is_known_of_the_attempt(tracing: Tracing, recorded: Recorded) -> None:
    job = a_job(
        queue_name="out",
        key="k",
        priority=-3,
        attempts=2,
        max_attempts=9,
        flags=("a", "b"),
        created_at=NOW - timedelta(seconds=90),
        run_at=NOW - timedelta(seconds=1.5),
        traceparent=SAMPLED,
    )

    run(tracing, job)

    span = recorded.one("process mail")
    assert span.kind is SpanKind.CONSUMER
    assert dict(span.attributes) == {
        "messaging.system": "kongtask",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "mail",
        "messaging.message.id": "41872",
        "messaging.client.id": "worker-1",
        "server.address": "db.example",
        "server.port": 5433,
        "kongtask.job.attempt": 2,
        "kongtask.job.max_attempts": 9,
        "kongtask.job.priority": -3,
        "kongtask.job.queue_name": "out",
        "kongtask.job.key": "k",
        "kongtask.job.flags": ("a", "b"),
        "kongtask.job.wait_s": 1.5,
        "kongtask.job.age_s": 90.0,
        "kongtask.job.relation": "link",
        "kongtask.job.outcome": "success",
    }


def test_options_that_are_absent_are_left_out(tracing: Tracing, recorded: Recorded) -> None:
    run(tracing, a_job(run_at=NOW + SOON))

    attributes = recorded.one("process mail").attributes
    for name in ("queue_name", "key", "flags"):
        assert f"kongtask.job.{name}" not in attributes
    assert attributes["kongtask.job.wait_s"] == 0, "clocks differ, and nobody waits less than not"


LAST = {"attempts": 3, "max_attempts": 3}
STARVED = raised(asyncio.CancelledError("stopped"))


@pytest.mark.parametrize(
    "outcome, events, status, error_type",
    [
        pytest.param(SUCCESS, ["job:success", "job:complete"], "UNSET", None, id="success"),
        pytest.param(RELEASED, ["job:released"], "UNSET", None, id="given back"),
        pytest.param(
            Outcome(kind="released", error=STARVED),
            ["job:released"], "UNSET", None,
            id="cancelled and given back",
        ),
        pytest.param(
            failure(a_job(), raised(LookupError("gone"))),
            ["exception", "job:error", "job:complete"], "ERROR", "LookupError",
            id="tried again",
        ),
        pytest.param(
            failure(a_job(**LAST), raised(LookupError("gone"))),
            ["exception", "job:failed", "job:complete"], "ERROR", "LookupError",
            id="failed for good",
        ),
        pytest.param(
            failure(a_job(), STARVED),
            ["exception", "job:error", "job:complete"], "ERROR",
            "asyncio.exceptions.CancelledError",
            id="cancelled by itself",
        ),
        pytest.param(
            Outcome(kind="failed", message="no such task"),
            ["job:failed", "job:complete"], "ERROR", "_OTHER",
            id="failed without an exception",
        ),
    ],
)  # fmt: skip
def test_how_an_attempt_ended(
    tracing: Tracing,
    recorded: Recorded,
    outcome: Outcome,
    events: list[str],
    status: str,
    error_type: str | None,
) -> None:
    run(tracing, a_job(), outcome)

    span = recorded.one("process mail")
    assert event_names(span) == ["job:start", *events]
    assert span.status.status_code.name == status
    assert span.attributes.get("error.type") == error_type
    assert span.attributes["kongtask.job.outcome"] == outcome.kind


def test_a_retry_says_what_went_wrong_and_when_it_is_tried_again(
    tracing: Tracing, recorded: Recorded
) -> None:
    outcome = Outcome(
        kind="retry", error=raised(LookupError("gone")), retry_delay=timedelta(seconds=7.389)
    )

    run(tracing, a_job(), outcome)

    span = recorded.one("process mail")
    events = {event.name: dict(event.attributes or {}) for event in span.events}
    assert span.status.description == "gone"
    assert span.attributes["kongtask.job.retry_delay_s"] == 7.389
    assert events["job:error"] == {"delay_s": 7.389}
    assert events["exception"]["exception.type"] == "LookupError"
    assert events["exception"]["exception.message"] == "gone"
    assert "raise error" in events["exception"]["exception.stacktrace"]


def test_no_secret_and_no_megabyte_of_an_exception_reaches_a_span(
    tracing: Tracing, recorded: Recorded
) -> None:
    cause = ValueError(f"cannot connect to {DSN}, password hunter2")
    error = RuntimeError(f"hunter2 {'x' * 1_000_000}\ud800")
    error.__cause__ = cause

    run(tracing, a_job(), failure(a_job(), raised(error)))

    span = recorded.one("process mail")
    assert "hunter2" not in span.to_json()
    texts = [str(value) for event in span.events for value in (event.attributes or {}).values()]
    assert all(len(text.encode()) <= 8192 for text in [*texts, span.status.description or ""])


@pytest.mark.parametrize(
    "error, error_type",
    [
        pytest.param(asyncio.CancelledError(), "asyncio.exceptions.CancelledError", id="cancelled"),
        pytest.param(LookupError("gone"), "LookupError", id="an exception"),
        pytest.param(SystemExit(3), "SystemExit", id="the end of the process"),
    ],
)
def test_an_attempt_that_nobody_finished_shows_what_broke_it(
    tracing: Tracing, recorded: Recorded, error: BaseException, error_type: str
) -> None:
    with pytest.raises(type(error)), tracing.processing(a_job(), worker_id="w", now=NOW):
        raise error

    span = recorded.one("process mail")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == error_type
    assert event_names(span) == ["job:start", "exception"]
    assert not get_current_span().get_span_context().is_valid


def test_the_first_word_on_an_outcome_counts(
    tracing: Tracing, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    with tracing.processing(a_job(), worker_id="w", now=NOW) as attempt:
        attempt.finish(SUCCESS)
        attempt.finish(RELEASED)
    attempt.finish(RELEASED)

    span = recorded.one("process mail")
    assert event_names(span) == ["job:start", "job:success", "job:complete"]
    assert not caplog.records


def test_nothing_is_said_on_a_span_that_the_handler_ended(
    tracing: Tracing, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    with tracing.processing(a_job(), worker_id="w", now=NOW) as attempt:
        get_current_span().end()
        attempt.finish(SUCCESS)

    assert event_names(recorded.one("process mail")) == ["job:start"]
    assert [each.message for each in caplog.records] == ["Calling end() on an ended span."]


async def test_attempts_that_run_at_once_do_not_mix(tracing: Tracing, recorded: Recorded) -> None:
    everybody = asyncio.Barrier(3)

    async def handle(number: int) -> tuple[int, int]:
        job = a_job(id=number, task_identifier=f"task {number}")
        with tracing.processing(job, worker_id="w", now=NOW) as attempt:
            await everybody.wait()
            current = get_current_span().get_span_context().span_id
            with tracing.adding(["next"], TaskSpec()):
                await everybody.wait()
            attempt.finish(SUCCESS)
        return number, current

    found = await asyncio.gather(*(handle(number) for number in range(3)))

    for number, current in found:
        assert recorded.one(f"process task {number}").context.span_id == current
    parents = {span.parent.span_id for span in recorded.all() if span.name == "add_job next"}
    assert parents == {current for _, current in found}


class Broken(SpanProcessor):
    """Fails wherever the SDK lets it."""

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        raise RuntimeError("no start")

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("no end")


class BrokenAtTheEnd(Broken):
    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        return None


class BrokenSampler(Sampler):
    def should_sample(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("no decision")

    def get_description(self) -> str:
        return "broken"


class Choosy(Sampler):
    """Notes what it may decide by, and keeps nothing."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, kind: Any = None,
        attributes: Any = None, *_: Any, **__: Any,
    ) -> SamplingResult:  # fmt: skip
        self.seen.append((name, dict(attributes)))
        return SamplingResult(Decision.DROP)

    def get_description(self) -> str:
        return "choosy"


def test_a_sampler_decides_by_the_task_the_job_its_attempt_and_its_queue() -> None:
    sampler = Choosy()
    tracing = Tracing(DSN, tracer_provider=TracerProvider(sampler, shutdown_on_exit=False))
    run(tracing, a_job(id=41872, queue_name="line"))
    assert sampler.seen == [
        (
            "process mail",
            {
                "messaging.system": "kongtask",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": "mail",
                "messaging.message.id": "41872",
                "server.address": "db.example",
                "server.port": 5433,
                "kongtask.job.attempt": 1,
                "kongtask.job.queue_name": "line",
            },
        )
    ]


def breaking(processor: SpanProcessor) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider


@pytest.mark.parametrize(
    "provider",
    [
        pytest.param(breaking(Broken()), id="at the start"),
        pytest.param(breaking(BrokenAtTheEnd()), id="at the end"),
        pytest.param(TracerProvider(BrokenSampler(), shutdown_on_exit=False), id="sampling"),
    ],
)
def test_tracing_that_fails_is_told_once_and_harms_nobody(
    provider: TracerProvider, caplog: pytest.LogCaptureFixture
) -> None:
    tracing = Tracing(tracer_provider=provider)

    for _ in range(2):
        run(tracing, a_job())
        with tracing.adding(["mail"], TaskSpec()) as adding:
            adding.added([1])
        with pytest.raises(LookupError), tracing.processing(a_job(), worker_id="w", now=NOW):
            raise LookupError("the task's own")

    assert len(caplog.records) == 1
    assert caplog.messages[0].startswith("tracing failed with RuntimeError: jobs run on")
    assert not get_current_span().get_span_context().is_valid


def a_disabled_provider(monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    return TracerProvider(shutdown_on_exit=False)


@pytest.mark.parametrize("provider", ["none", "no-op", "disabled"])
def test_without_an_sdk_nothing_is_made_kept_or_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, provider: str
) -> None:
    caplog.set_level(logging.DEBUG)
    given = {
        "none": None,
        "no-op": trace.NoOpTracerProvider(),
        "disabled": a_disabled_provider(monkeypatch),
    }
    caplog.clear()
    tracing = Tracing(DSN, tracer_provider=given[provider])

    with tracing.processing(a_job(traceparent=SAMPLED), worker_id="w", now=NOW) as attempt:
        assert not get_current_span().get_span_context().is_valid
        with tracing.adding(["mail"] * 11, None) as adding:
            adding.added(range(11))
        attempt.finish(failure(a_job(), LookupError("gone")))

    assert (adding.context.traceparent, adding.context.tracestate) == (None, None)
    assert type(attempt) is Processing
    assert not caplog.records


def test_a_provider_that_is_set_later_is_used(
    monkeypatch: pytest.MonkeyPatch, provider: TracerProvider, recorded: Recorded
) -> None:
    tracing = Tracing()
    run(tracing, a_job(id=1))

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    run(tracing, a_job(id=2))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    run(tracing, a_job(id=3))

    assert [span.attributes["messaging.message.id"] for span in recorded.all()] == ["2"]


def test_an_unsampled_attempt_records_nothing_and_hands_the_decision_on(
    recorded: Recorded,
) -> None:
    tracing = Tracing(tracer_provider=TracerProvider(ALWAYS_OFF, shutdown_on_exit=False))

    with tracing.processing(a_job(traceparent=UNSAMPLED), worker_id="w", now=NOW) as attempt:
        with tracing.adding(["mail"], TaskSpec()) as adding:
            adding.added([1])
        attempt.finish(failure(a_job(), LookupError("gone")))

    assert adding.context.traceparent is not None
    assert adding.context.traceparent.startswith(f"00-{TRACE}-")
    assert int(adding.context.traceparent[-2:], 16) & 1 == 0
    assert not recorded.all()

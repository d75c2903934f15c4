"""Spans over OpenTelemetry's API: one where a job is added, one for each of its attempts.

It is loaded when a provider is there to make them, by `kongtask.tracing`, which says how they hang
together. It refuses to raise: whatever fails in here is logged once, and the job goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextvars import Token
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    TracerProvider,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from kongtask.core import span_attributes
from kongtask.core.job import Job
from kongtask.core.redaction import Redaction, class_name
from kongtask.core.reports import Adding, Processing
from kongtask.core.span_attributes import Attributes, seconds
from kongtask.core.task_spec import TaskSpec
from kongtask.core.trace_context import (
    ABSENT,
    FAN_OUT,
    Origin,
    Relation,
    TraceContext,
    relation,
    stored_context,
)
from kongtask.version import __version__

if TYPE_CHECKING:
    from kongtask.core.attempt import Outcome

_FAILURES = {"retry": "job:error", "failed": "job:failed"}
_NOWHERE = Context()
_log = logging.getLogger("kongtask.tracing")


def spans_of(provider: TracerProvider, dsn: str) -> Spans | None:
    """Return what makes the spans of a process, or None when this provider makes none.

    dsn: the connection string; it names the server in each span, and its password is kept out.
    """
    harmless = Harmless()
    with harmless:
        tracer = provider.get_tracer("kongtask", __version__, span_attributes.SCHEMA)
        if not isinstance(tracer, trace.NoOpTracer | trace.ProxyTracer):
            return Spans(tracer, dsn, harmless)
    return None


class Spans:
    """Makes spans with one tracer, and knows what is the same in all of them."""

    def __init__(self, tracer: Tracer, dsn: str, harmless: Harmless) -> None:
        self.tracer = tracer
        self.server = _server(dsn)
        self.redaction = Redaction(dsn)
        self.harmless = harmless

    def adding(self, tasks: Sequence[str], spec: TaskSpec | None) -> Adding:
        """Return the span in which jobs are added."""
        return _SpannedAdding(self, tasks, spec)

    def processing(self, job: Job, worker_id: str, now: datetime) -> Processing:
        """Return the span of one attempt."""
        return _SpannedProcessing(self, job, worker_id, now)


class Harmless:
    """Swallows what fails in tracing and logs the first of it, so that no job suffers."""

    def __init__(self) -> None:
        self._told = False

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: object, frames: object) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        if not self._told:
            self._told = True
            _log.warning(
                "tracing failed with %s: jobs run on and their spans may be missing; "
                "this is said once",
                kind.__qualname__,
            )
        return True


class _Spanned:
    """A span that is current from the start of a block to its end."""

    __slots__ = ("_span", "_spans", "_token")

    def __init__(self, spans: Spans) -> None:
        self._spans = spans
        self._span: Span | None = None
        self._token: Token[Context] | None = None

    def _open(
        self, kind: SpanKind, attributes: Attributes, context: Context, links: Sequence[Link] = ()
    ) -> Span:
        name = span_attributes.span_name(attributes)
        attributes |= self._spans.server
        self._span = self._spans.tracer.start_span(name, context, kind, attributes, links)
        self._token = attach(set_span_in_context(self._span, context))
        return self._span

    def _fail(self, span: Span, error_type: str, message: str) -> None:
        span.set_attribute("error.type", error_type)
        span.set_status(StatusCode.ERROR, message)

    def _close(self) -> None:
        with self._spans.harmless:
            if self._token is not None:
                detach(self._token)  # it logs what fails, and raises nothing
            if self._span is not None:
                self._span.end()


class _SpannedAdding(_Spanned, Adding):
    __slots__ = ("_spec", "_tasks", "context")

    def __init__(self, spans: Spans, tasks: Sequence[str], spec: TaskSpec | None) -> None:
        super().__init__(spans)
        self._tasks, self._spec = tasks, spec
        self.context = ABSENT

    def __enter__(self) -> Adding:
        with self._spans.harmless:
            span = self._open(SpanKind.PRODUCER, self._described(), get_current())
            self.context = _kept(span.get_span_context(), self._spec, len(self._tasks))
            self._tell_delay(span)
        return self

    def added(self, ids: Sequence[int]) -> None:
        with self._spans.harmless:
            if self._span is None:
                return
            if len(ids) == 1:
                self._span.set_attribute(span_attributes.MESSAGE_ID, str(ids[0]))
            if self._spec is None:
                self._span.set_attribute(span_attributes.BATCH_COUNT, len(ids))

    def __exit__(self, kind: object, error: BaseException | None, frames: object) -> None:
        with self._spans.harmless:
            if self._span is not None and error is not None:
                said = self._spans.redaction.message(error)
                self._fail(self._span, _sqlstate(error) or class_name(error), said)
        self._close()

    def _described(self) -> Attributes:
        if self._spec is None:
            return span_attributes.adding_many(self._tasks)
        return span_attributes.adding_one(self._tasks[0], self._spec)

    def _tell_delay(self, span: Span) -> None:
        began = getattr(span, "start_time", None)
        if began is not None and self._spec is not None and self._spec.run_at is not None:
            delay = self._spec.run_at.timestamp() - began / 1e9
            span.set_attribute("kongtask.job.delay_s", max(0.0, round(delay, 3)))


class _SpannedProcessing(_Spanned, Processing):
    __slots__ = ("_job", "_now", "_unsaid", "_worker_id")

    def __init__(self, spans: Spans, job: Job, worker_id: str, now: datetime) -> None:
        super().__init__(spans)
        self._job, self._worker_id, self._now = job, worker_id, now
        self._unsaid: Span | None = None
        """The span, until it says how the attempt ended; one that is not kept says nothing."""

    def __enter__(self) -> Processing:
        with self._spans.harmless:
            context, links, related = _place(self._job, self._now)
            attributes = span_attributes.attempt(self._job)
            if related is not None:
                attributes["kongtask.job.relation"] = related
            span = self._open(SpanKind.CONSUMER, attributes, context, links)
            if span.is_recording():
                self._unsaid = span
                more = span_attributes.circumstances(self._job, self._worker_id, self._now)
                span.set_attributes(more)
                span.add_event("job:start")
        return self

    def finish(self, outcome: Outcome) -> None:
        span, self._unsaid = self._unsaid, None
        if span is not None:
            with self._spans.harmless:
                if span.is_recording():  # a handler may have ended it
                    self._tell(span, outcome)

    def __exit__(self, kind: object, error: BaseException | None, frames: object) -> None:
        span, self._unsaid = self._unsaid, None
        if span is not None and error is not None:
            with self._spans.harmless:
                self._tell_error(span, error)
        self._close()

    def _tell(self, span: Span, outcome: Outcome) -> None:
        span.set_attribute("kongtask.job.outcome", outcome.kind)
        if outcome.kind == "released":
            span.add_event("job:released")
            return
        if outcome.kind == "success":
            span.add_event("job:success")
        elif outcome.kind == "snoozed":
            span.add_event("job:snoozed")
        else:
            self._tell_failure(span, outcome)
        span.add_event("job:complete")

    def _tell_failure(self, span: Span, outcome: Outcome) -> None:
        if outcome.error is None:
            self._fail(span, "_OTHER", self._spans.redaction.text(outcome.message))
        else:
            self._tell_error(span, outcome.error)
        facts: Attributes = {}
        if outcome.retry_delay is not None:
            facts["delay_s"] = seconds(outcome.retry_delay)
            span.set_attribute("kongtask.job.retry_delay_s", facts["delay_s"])
        span.add_event(_FAILURES[outcome.kind], facts)

    def _tell_error(self, span: Span, error: BaseException) -> None:
        # The SDK's own recording misses CancelledError, and neither bounds nor redacts.
        message = self._spans.redaction.message(error)
        self._fail(span, class_name(error), message)
        event = {
            "exception.type": class_name(error),
            "exception.message": message,
            "exception.stacktrace": self._spans.redaction.traceback(error),
        }
        span.add_event("exception", event)


def _sqlstate(error: BaseException) -> str | None:
    """Return the code of Postgres, of the exception or of what caused it."""
    cause: BaseException | None = error
    for _ in range(8):
        state = getattr(cause, "sqlstate", None)
        if isinstance(state, str) and state:
            return state
        cause = cause and cause.__cause__
    return None


def _kept(context: SpanContext, spec: TaskSpec | None, count: int) -> TraceContext:
    """Return what is kept with jobs that were added in this span."""
    if not context.is_valid:
        return ABSENT
    origin = Origin(
        trace_id=context.trace_id,
        span_id=context.span_id,
        flags=context.trace_flags,
        state=tuple(context.trace_state.items()),
    )
    return stored_context(origin, bulk=spec is None and count > FAN_OUT)


def _place(job: Job, now: datetime) -> tuple[Context, list[Link], Relation | None]:
    """Return where an attempt's span belongs: its context, its links and their relation."""
    kept = ABSENT if job.traceparent is None else TraceContext(job.traceparent, job.tracestate)
    origin = kept.origin()
    adder = None if origin is None else _span_context(origin)
    links = [] if adder is None else [Link(adder)]
    around = get_current()
    if around and get_current_span(around).get_span_context().is_valid:
        return around, links, "link" if links else None
    if adder is None:
        return _NOWHERE, links, None
    if relation(job, kept.hint(), now) == "link":
        return _NOWHERE, links, "link"
    return set_span_in_context(NonRecordingSpan(adder), _NOWHERE), links, "child"


def _span_context(origin: Origin) -> SpanContext:
    return SpanContext(
        trace_id=origin.trace_id,
        span_id=origin.span_id,
        is_remote=True,
        trace_flags=TraceFlags(origin.flags),
        trace_state=TraceState(origin.state),
    )


def _server(dsn: str) -> Attributes:
    try:
        parts = urlsplit(dsn)
        port = parts.port or 5432
    except ValueError:
        return {}
    return {"server.address": parts.hostname, "server.port": port} if parts.hostname else {}

"""Spans are read back from the SDK's own memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from recorded_spans import Recorded
from trace_jobs import DSN

from kongtask.tracing import Tracing


@pytest.fixture
def memory() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(memory: InMemorySpanExporter) -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    yield provider
    provider.shutdown()


@pytest.fixture
def recorded(memory: InMemorySpanExporter) -> Recorded:
    return Recorded(memory)


@pytest.fixture
def tracing(provider: TracerProvider) -> Tracing:
    return Tracing(DSN, tracer_provider=provider)

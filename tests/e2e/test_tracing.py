"""A trace that begins in a program outside the cluster, as Jaeger tells it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from cluster import DEMO, forwarded, until
from opentelemetry import trace
from place import Place

from kongtask.telemetry import configure_tracing
from kongtask.worker_utils import WorkerUtils

COLLECTOR = f"http://jaeger.{DEMO}:4317"

Span = dict[str, Any]


@pytest.fixture
def query_port() -> Iterator[int]:
    """Jaeger's query API, on this machine."""
    with forwarded(DEMO, "jaeger", 16686) as port:
        yield port


@pytest.fixture
def otlp_port() -> Iterator[int]:
    """Jaeger's collector, on this machine."""
    with forwarded(DEMO, "jaeger", 4318) as port:
        yield port


def spans_of(port: int, trace_id: str) -> dict[str, Span]:
    """Return the spans that Jaeger has of a trace, by name."""
    url = f"http://127.0.0.1:{port}/api/v3/traces/{trace_id}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = json.loads(answer.read())["result"]
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return {}
        raise
    return {
        span["name"]: {**span, "service": _service(resource)}
        for resource in found["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    }


def _service(resource: Span) -> str:
    attributes = resource["resource"]["attributes"]
    named = (each["value"]["stringValue"] for each in attributes if each["key"] == "service.name")
    return str(next(named))


async def test_a_trace_goes_from_a_producer_through_two_jobs(
    place: Place, query_port: int, otlp_port: int
) -> None:
    await place.ready_pool(tracing={"mode": "Enabled", "endpoint": COLLECTOR})
    flush = configure_tracing(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{otlp_port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_SERVICE_NAME": "shop",
        }
    )

    with trace.get_tracer("shop").start_as_current_span("checkout") as checkout:
        await WorkerUtils(place.db).add_job("forwarding", {})
    flush()
    await place.until_finished("quick", 1)

    trace_id = f"{checkout.get_span_context().trace_id:032x}"
    wanted = {
        "checkout": "shop", "add_job forwarding": "shop", "process forwarding": "mail",
        "add_job quick": "mail", "process quick": "mail",
    }  # fmt: skip

    def look() -> dict[str, Span]:
        found = spans_of(query_port, trace_id)
        return found if found.keys() >= wanted.keys() else {}

    spans = await until("all five spans", look)
    assert {name: span["service"] for name, span in spans.items()} == wanted
    chain = list(wanted)
    parents = [spans[name]["parentSpanId"] for name in chain[1:]]
    assert parents == [spans[name]["spanId"] for name in chain[:-1]]

"""Reading the OTEL_* variables: what is asked for, and mistakes that name the way out."""

from __future__ import annotations

from typing import Any

import pytest

from kongtask.core.trace_export import Export, export_wanted
from kongtask.errors import ConfigurationError
from kongtask.telemetry import configure_tracing

COMMON, TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
HTTP = {COMMON: "http://jaeger:4318"}


def wanted(environment: dict[str, str]) -> Export:
    export = export_wanted(environment)
    assert export is not None
    return export


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({}, id="nothing set"),
        pytest.param({COMMON: "  "}, id="an empty endpoint"),
        pytest.param({"OTEL_TRACES_EXPORTER": "otlp"}, id="an exporter without an endpoint"),
        pytest.param(HTTP | {"OTEL_SDK_DISABLED": " TRUE "}, id="disabled"),
        pytest.param(HTTP | {"OTEL_TRACES_EXPORTER": "none"}, id="no exporter"),
    ],
)
def test_nothing_is_wanted(environment: dict[str, str]) -> None:
    assert export_wanted(environment) is None


@pytest.mark.parametrize(
    "environment, expected",
    [
        pytest.param(HTTP, {"endpoint": "http://jaeger:4318/v1/traces"}, id="the path is added"),
        pytest.param(
            {COMMON: "https://c/otlp/"}, {"endpoint": "https://c/otlp/v1/traces"},
            id="below a path",
        ),
        pytest.param(
            HTTP | {TRACES: "http://c:1/x"}, {"endpoint": "http://c:1/x", "variable": TRACES},
            id="that of traces as it is",
        ),
        pytest.param(
            {COMMON: "http://jaeger:4317"},
            {"endpoint": "http://jaeger:4317", "protocol": "grpc"},
            id="grpc by its port",
        ),
        pytest.param(
            {COMMON: "http://jaeger:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            {"endpoint": "http://jaeger:4317/v1/traces", "protocol": "http/protobuf"},
            id="http on the port of grpc when asked",
        ),
        pytest.param(
            HTTP
            | {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "GRPC",
            },
            {"protocol": "grpc", "endpoint": "http://jaeger:4318"},
            id="the protocol of traces",
        ),
        pytest.param(
            HTTP | {"OTEL_EXPORTER_OTLP_HEADERS": "A=b%20c, d=e=f"},
            {"headers": {"a": "b c", "d": "e=f"}},
            id="headers",
        ),
        pytest.param(HTTP | {"OTEL_EXPORTER_OTLP_TIMEOUT": "2.5"}, {"timeout": 2.5}, id="timeout"),
        pytest.param(
            HTTP | {"OTEL_TRACES_SAMPLER": "TraceIdRatio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
            {"sampler": "traceidratio", "ratio": 0.25, "remark": ""},
            id="a sampler",
        ),
        pytest.param(
            HTTP | {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"},
            {
                "ratio": 1.0,
                "remark": "OTEL_TRACES_SAMPLER_ARG must be from 0 to 1, got 'nan': 1 is used",
            },
            id="a ratio that is none",
        ),
        pytest.param(
            HTTP | {"OTEL_BSP_SCHEDULE_DELAY": "200"}, {"batch": {"schedule_delay_millis": 200}},
            id="batches",
        ),
        pytest.param(
            HTTP | {"OTEL_RESOURCE_ATTRIBUTES": "service.name=shop,broken,a=b=c"},
            {"resource": {"service.name": "shop", "a": "b=c"}},
            id="a resource",
        ),
        pytest.param(HTTP | {"OTEL_TRACES_EXPORTER": "console,otlp"}, {}, id="also otlp"),
    ],
)  # fmt: skip
def test_what_is_wanted(environment: dict[str, str], expected: dict[str, Any]) -> None:
    export = wanted(environment)

    assert {name: getattr(export, name) for name in expected} == expected


@pytest.mark.parametrize(
    "environment, message",
    [
        pytest.param(
            {COMMON: "jaeger:4317"},
            f"{COMMON} must begin with http:// or https:// and name a host, got 'jaeger:4317': "
            "write it as http://HOST:PORT",
            id="no scheme",
        ),
        pytest.param(
            {TRACES: "ftp://u:hunter2@jaeger/x?token=hunter2"},
            f"{TRACES} must begin with http:// or https:// and name a host, got 'ftp://jaeger/x': "
            "write it as http://HOST:PORT",
            id="another scheme, with secrets",
        ),
        pytest.param(
            {COMMON: "http://u:hunter2@jaeger:port"},
            f"{COMMON} is not a URL: write it as http://HOST:PORT",
            id="a port that is none",
        ),
        pytest.param({COMMON: "http://[hunter2"}, f"{COMMON} is not a URL", id="not a URL"),
        pytest.param(
            HTTP | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL must be grpc or http/protobuf, got 'http/json': correct",
            id="a protocol we do not speak",
        ),
        pytest.param(
            HTTP | {"OTEL_TRACES_EXPORTER": "zipkin"},
            "OTEL_TRACES_EXPORTER must be otlp or none, got 'zipkin': set it to otlp",
            id="an exporter we do not have",
        ),
        pytest.param(
            HTTP | {"OTEL_EXPORTER_OTLP_HEADERS": "Bearer hunter2"},
            "OTEL_EXPORTER_OTLP_HEADERS cannot be read (its value is not shown): write it as NAME=",
            id="headers that are none",
        ),
        pytest.param(
            HTTP | {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "soon"},
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT must be a positive number (seconds), got 'soon'",
            id="a timeout in words",
        ),
        pytest.param(
            HTTP | {"OTEL_BSP_MAX_QUEUE_SIZE": "-1"},
            "OTEL_BSP_MAX_QUEUE_SIZE must be a positive number (a whole number), got '-1'",
            id="a queue of less than nothing",
        ),
        pytest.param(
            {COMMON: "http://jaeger:4317", "OTEL_EXPORTER_OTLP_COMPRESSION": "deflate"},
            "OTEL_EXPORTER_OTLP_COMPRESSION must be one of none, gzip with grpc, got 'deflate'",
            id="a compression that grpc has not",
        ),
    ],
)
def test_a_mistake_names_variable_value_and_way_out(
    environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure_tracing(environment)

    assert str(caught.value).startswith(message)
    assert "hunter2" not in str(caught.value)


def test_batches_larger_than_their_queue_are_refused() -> None:
    environment = HTTP | {"OTEL_BSP_MAX_QUEUE_SIZE": "8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "9"}

    with pytest.raises(ConfigurationError, match=r"OTEL_BSP_\* variables do not fit together"):
        configure_tracing(environment)


def test_headers_are_in_no_repr() -> None:
    export = wanted(HTTP | {"OTEL_EXPORTER_OTLP_HEADERS": "a=hunter2"})

    assert "hunter2" not in repr(export)

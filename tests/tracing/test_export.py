"""Spans leave the process, also at its very end, and never hold it. Each test runs a program."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from collector import Collector, dead_collector, grpc_collector, http_collector
from trace_jobs import SAMPLED, TRACE, UNSAMPLED

HERE = Path(__file__).parent
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "HOSTNAME")
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SLOW_MACHINE = 20.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    flush: float
    sdk: bool
    log: list[str]
    after_flush: float


def start(*contexts: str, **environment: str) -> subprocess.Popen[str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(HERE / "traced_program.py"), *contexts],
        env=kept | {"PYTHONPATH": str(HERE.parent.parent)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(program: subprocess.Popen[str]) -> Ended:
    assert program.stdout is not None
    assert program.stderr is not None
    line = program.stdout.readline()
    printed = time.monotonic()
    _, log = program.communicate(timeout=60)
    assert program.returncode == 0, log
    lines = [text for text in log.splitlines() if text.strip()]
    return Ended(log=lines, after_flush=time.monotonic() - printed, **json.loads(line))


def run(*contexts: str, **environment: str) -> Ended:
    return ended(start(*contexts, **environment))


def message_ids(collector: Collector) -> list[str]:
    return sorted(
        entry.value.string_value
        for span in collector.spans()
        for entry in span.attributes
        if entry.key == "messaging.message.id"
    )


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_every_span_arrives_over_http(compression: str) -> None:
    with http_collector() as collector:
        end = run(
            "-", "-", SAMPLED,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_EXPORTER_OTLP_HEADERS="X-Api-Key=tops3cret%21",
            OTEL_EXPORTER_OTLP_COMPRESSION=compression,
            KONGTASK_WORKER_NAME="mail",
            HOSTNAME="pod-7",
        )  # fmt: skip

    assert message_ids(collector) == ["0", "1", "2"]
    assert collector.resource()["service.name"] == "kongtask-worker"
    assert collector.resource()["service.instance.id"].startswith("mail.pod-7.")
    assert set(collector.paths) == {"/v1/traces"}
    assert collector.headers[0]["x-api-key"] == "tops3cret!"
    assert collector.spans()[-1].links[0].trace_id.hex() == TRACE
    assert end.log == []


def test_every_span_arrives_over_grpc() -> None:
    with grpc_collector() as collector:
        end = run(
            "-", "-",
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector.url,
            OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="grpc",
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_HEADERS="x-api-key=tops3cret",
            OTEL_EXPORTER_OTLP_COMPRESSION="none",
            OTEL_SERVICE_NAME="shop-worker",
            OTEL_RESOURCE_ATTRIBUTES="service.name=other,service.instance.id=me,team=a%20b",
        )  # fmt: skip

    assert message_ids(collector) == ["0", "1"]
    assert collector.resource().items() >= {
        ("service.name", "shop-worker"), ("service.instance.id", "me"), ("team", "a b"),
    }  # fmt: skip
    assert collector.headers[0]["x-api-key"] == "tops3cret"
    assert end.log == []


@pytest.mark.parametrize(
    "sampler, argument, arrived",
    [
        pytest.param("", "", ["0", "1"], id="by default: all but what its producer dropped"),
        pytest.param("parentbased_traceidratio", "0", ["1"], id="none but the producer's choice"),
        pytest.param("parentbased_always_off", "", ["1"], id="off but the producer's choice"),
        pytest.param("always_on", "", ["0", "1", "2"], id="whatever producers chose"),
        pytest.param("traceidratio", "0.0", [], id="never, whatever producers chose"),
    ],
)
def test_a_linked_attempt_follows_its_producer(
    sampler: str, argument: str, arrived: list[str]
) -> None:
    with http_collector() as collector:
        run(
            "-", SAMPLED, UNSAMPLED,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_TRACES_SAMPLER=sampler,
            OTEL_TRACES_SAMPLER_ARG=argument,
        )  # fmt: skip

    assert message_ids(collector) == arrived


def test_a_dead_collector_holds_nobody_for_more_than_the_time_limit() -> None:
    with dead_collector() as collector:
        programs = [
            start("-", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_EXPORTER_OTLP_PROTOCOL=name)
            for name in ("http/protobuf", "grpc")
        ]
        ends = [ended(program) for program in programs]

    for end in ends:
        assert end.flush < 5 + SLOW_MACHINE
        assert end.after_flush < SLOW_MACHINE
        (line,) = end.log
        assert line.startswith(
            f"WARNING kongtask.telemetry traces cannot be sent to {collector.url}"
        )
        assert ENDPOINT in line


def test_nobody_at_the_collectors_port_is_said_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    end = run(
        "-", "-",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1",
        OTEL_EXPORTER_OTLP_TIMEOUT="0.1",
    )  # fmt: skip

    (line,) = end.log
    assert "traces cannot be sent to" in line
    assert end.flush < SLOW_MACHINE


def test_a_refusal_is_shown_with_its_reason_and_without_headers() -> None:
    with http_collector(401, "tops3cret! is not a key") as collector:
        end = run(
            "-",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url.replace("//", "//me:hunter2@"),
            OTEL_EXPORTER_OTLP_HEADERS="authorization=tops3cret%21",
        )

    (line,) = end.log
    assert "401" in line
    assert "is not a key" in line
    for secret in ("tops3cret", "hunter2"):
        assert secret not in line


def test_without_the_sdk_one_line_names_the_extra() -> None:
    end = run("-", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", WITHOUT_SDK="1")

    assert end.log == [
        "INFO kongtask.telemetry OTEL_EXPORTER_OTLP_ENDPOINT is set, but the OpenTelemetry SDK "
        "is not installed, so nothing is traced: install kongtask[otel]"
    ]


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({}, id="no endpoint"),
        pytest.param({ENDPOINT: "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "True"}, id="disabled"),
        pytest.param({ENDPOINT: "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"}, id="none"),
    ],
)
def test_nothing_is_loaded_when_nothing_is_wanted(environment: dict[str, str]) -> None:
    end = run("-", **environment)

    assert not end.sdk
    assert end.log == []


def test_the_applications_own_provider_stays() -> None:
    with http_collector() as collector:
        end = run("-", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OWN_PROVIDER="1")

    assert collector.requests == []
    assert end.log == []


def test_a_sampler_nobody_knows_is_named() -> None:
    with http_collector() as collector:
        end = run("-", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_TRACES_SAMPLER="some")

    assert message_ids(collector) == ["0"]
    assert end.log == [
        "WARNING kongtask.telemetry OTEL_TRACES_SAMPLER 'some' is not known: "
        "parentbased_always_on is used"
    ]

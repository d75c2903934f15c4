"""Setting up OpenTelemetry's SDK for a worker process, as the environment asks for it.

It does nothing unless an endpoint is set, and it steps back when the application has set a provider
of its own. It refuses to hold the process: a collector that does not answer costs five seconds at
the end and one line in the log. Header values are never shown.

Certificates are read by the exporter itself, from the OTEL_EXPORTER_OTLP_CERTIFICATE family.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, TraceState

from kongtask.core.redaction import Redaction, shortened
from kongtask.core.span_attributes import SYSTEM, SYSTEM_NAME
from kongtask.core.trace_export import Export, export_wanted
from kongtask.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult

FLUSH_PATIENCE = 5.0
"""Seconds that sending the last spans may take in all."""

SCHEDULE_DELAY = 1000
"""Milliseconds that a span waits for others; a killed process loses what waits."""

_MODULES = {"grpc": "grpc", "http/protobuf": "http"}
_COMPRESSIONS = {"none": "NoCompression", "gzip": "Gzip", "deflate": "Deflate"}
_log = logging.getLogger("kongtask.telemetry")


def configure_tracing(environment: Mapping[str, str]) -> Callable[[], None]:
    """Set up the export of spans; return what sends the last ones and ends it.

    Raises `ConfigurationError` when a variable cannot be used. What is returned takes at most
    `FLUSH_PATIENCE` seconds, blocks, and may be called twice.
    """
    export = export_wanted(environment)
    if export is None or not _is_unset(trace.get_tracer_provider()):
        return _nothing
    try:
        provider, exporter = _provider(export, _instance(environment))
    except ImportError:
        _log.info(
            "%s is set, but the OpenTelemetry SDK is not installed, so nothing is traced: "
            "install kongtask[otel]",
            export.variable,
        )
        return _nothing
    if export.remark:
        _log.warning("%s", export.remark)
    trace.set_tracer_provider(provider)
    return _Ending(provider, exporter)


class LinkAwareSampler:
    """Decides for spans without a parent: an attempt that is only linked follows its producer.

    Links carry no decision by themselves, so half of a job's story would be missing. Every other
    span is left to `root`.
    """

    def __init__(self, root: Sampler, sampled: Sampler, dropped: Sampler) -> None:
        self._root, self._sampled, self._dropped = root, sampled, dropped

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Return the decision of the sampler that these links call for."""
        sampler = self._root
        if links and (attributes or {}).get(SYSTEM_NAME) == SYSTEM:
            sampled = any(link.context.trace_flags.sampled for link in links)
            sampler = self._sampled if sampled else self._dropped
        return sampler.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        """Return the sampler's name."""
        return f"LinkAware{{{self._root.get_description()}}}"


class _Heard(logging.Handler):
    """Keeps the last thing that the exporters said, without the headers' values."""

    def __init__(self, headers: Iterable[str]) -> None:
        super().__init__(logging.WARNING)
        self._secrets = sorted((value for value in headers if value), key=len, reverse=True)
        self._redaction = Redaction()
        self.text = "no answer"

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        for secret in self._secrets:
            text = text.replace(secret, "***")
        self.text = shortened(self._redaction.text(text), 300)


class _QuietExporter:
    """Tells of its first failure only; the SDK would tell of each."""

    def __init__(self, exporter: Any, export: Export, heard: _Heard) -> None:
        self._exporter, self._export, self._heard = exporter, export, heard
        self._told = False

    def export(self, spans: Sequence[Any]) -> Any:
        from opentelemetry.sdk.trace.export import SpanExportResult

        try:
            result = self._exporter.export(spans)
        except Exception:
            result = SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            self.tell_failure()
        return result

    def tell_failure(self) -> None:
        if self._told:
            return
        self._told = True
        _log.warning(
            "traces cannot be sent to %s by %s (%s): jobs run on without them; check %s and that a "
            "collector listens there; this is said once",
            self._export.shown,
            self._export.protocol,
            self._heard.text,
            self._export.variable,
        )

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return bool(self._exporter.force_flush(timeout_millis))


class _Ending:
    """Sends the last spans in a thread that may be left behind."""

    def __init__(self, provider: TracerProvider, exporter: _QuietExporter) -> None:
        self._provider, self._exporter = provider, exporter
        self._done = False

    def __call__(self) -> None:
        if self._done:
            return
        self._done = True
        thread = Thread(target=self._shut_down, name="kongtask-telemetry", daemon=True)
        thread.start()
        thread.join(FLUSH_PATIENCE)
        if thread.is_alive():
            self._exporter.tell_failure()

    def _shut_down(self) -> None:
        with suppress(Exception):
            self._provider.shutdown()


def _nothing() -> None:
    return None


def _is_unset(provider: trace.TracerProvider) -> bool:
    return isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)


def _provider(export: Export, instance: str) -> tuple[TracerProvider, _QuietExporter]:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    heard = _hush(export)
    exporter = _QuietExporter(_exporter(export), export, heard)
    provider = TracerProvider(
        sampler=_sampler(export),
        resource=Resource.create({"service.instance.id": instance, **export.resource}),
        shutdown_on_exit=False,
    )
    batch: dict[str, Any] = {"schedule_delay_millis": SCHEDULE_DELAY} | dict(export.batch)
    try:
        provider.add_span_processor(BatchSpanProcessor(exporter, **batch))  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigurationError(
            f"the OTEL_BSP_* variables do not fit together: {error}"
        ) from error
    return provider, exporter


def _hush(export: Export) -> _Heard:
    """Keep what the SDK says of exports out of the log: it repeats, and it may show headers."""
    logging.getLogger("opentelemetry.util.re").setLevel(logging.CRITICAL + 1)
    heard = _Heard(export.headers.values())
    exporters = logging.getLogger("opentelemetry.exporter")
    exporters.propagate = False
    exporters.addHandler(heard)
    return heard


def _exporter(export: Export) -> Any:
    package = f"opentelemetry.exporter.otlp.proto.{_MODULES[export.protocol]}.trace_exporter"
    module = import_module(package)
    options = {} if export.protocol != "grpc" else {"insecure": export.endpoint.startswith("http:")}
    return module.OTLPSpanExporter(
        endpoint=export.endpoint,
        headers=dict(export.headers),
        timeout=export.timeout,
        compression=getattr(module.Compression, _COMPRESSIONS[export.compression]),
        **options,
    )


def _sampler(export: Export) -> Sampler:
    from opentelemetry.sdk.trace.sampling import (
        ALWAYS_OFF,
        ALWAYS_ON,
        ParentBased,
        TraceIdRatioBased,
    )

    kind = export.sampler.removeprefix("parentbased_")
    roots: dict[str, Sampler] = {"always_on": ALWAYS_ON, "always_off": ALWAYS_OFF}
    root = roots.get(kind) or TraceIdRatioBased(export.ratio)
    if kind == export.sampler:
        return root
    return ParentBased(LinkAwareSampler(root, ALWAYS_ON, ALWAYS_OFF))  # type: ignore[arg-type]


def _instance(environment: Mapping[str, str]) -> str:
    host = environment.get("HOSTNAME", "").strip() or socket.gethostname()
    worker = environment.get("KONGTASK_WORKER_NAME", "").strip()
    return ".".join(part for part in (worker, host, str(os.getpid())) if part)

"""A collector of traces for tests: takes OTLP over HTTP or gRPC and keeps the spans."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service


@dataclass(kw_only=True)
class Collector:
    """What arrived, and with which headers and paths."""

    url: str
    requests: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def spans(self) -> list[Any]:
        groups = [group for request in self.requests for group in request.resource_spans]
        return [span for group in groups for scope in group.scope_spans for span in scope.spans]

    def resource(self) -> dict[str, str]:
        attributes = self.requests[0].resource_spans[0].resource.attributes
        return {entry.key: entry.value.string_value for entry in attributes}


@contextmanager
def http_collector(status: int = 200, reason: str = "") -> Iterator[Collector]:
    """A collector that answers every request with this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            body = gzip.decompress(body) if packed else body
            collector.headers.append({name.lower(): text for name, text in self.headers.items()})
            collector.paths.append(self.path)
            collector.requests.append(messages.ExportTraceServiceRequest.FromString(body))
            self.send_response(status, reason or None)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(url=f"http://127.0.0.1:{server.server_port}")
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield collector
        server.shutdown()


@contextmanager
def grpc_collector() -> Iterator[Collector]:
    class Servicer(service.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:
            collector.headers.append(dict(context.invocation_metadata()))
            collector.requests.append(request)
            return messages.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    service.add_TraceServiceServicer_to_server(Servicer(), server)
    collector = Collector(url=f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    yield collector
    server.stop(None).wait()


@contextmanager
def dead_collector() -> Iterator[Collector]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Collector(url=f"http://127.0.0.1:{server.getsockname()[1]}")

"""Serves /livez, /readyz and /metrics from a thread: a busy event loop is not taken for dead.

Ready means that the database answers and jobs are taken. That it is away is no reason to be killed;
an event loop that stands still for minutes is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from kongtask.clock import Clock
from kongtask.errors import ConfigurationError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse

STANDSTILL = 300.0
"""Seconds without a turn of the event loop after which the process counts as hung."""


class Probed(Protocol):
    """Who is asked about: a pool of workers, or one that waits for its database.

    turned_at: the monotonic moment, in seconds, at which its event loop was last seen to turn.
    trouble: why the database cannot be used just now, None while it answers.
    """

    @property
    def turned_at(self) -> float: ...
    @property
    def trouble(self) -> str | None: ...
    @property
    def is_alive(self) -> bool: ...
    @property
    def is_ready(self) -> bool: ...
    @property
    def is_stopping(self) -> bool: ...


@contextmanager
def health_server(
    pool: Probed, registry: CollectorRegistry, port: int, clock: Clock
) -> Iterator[int]:
    """Serve until the block ends; yields the port. Port 0 takes any that is free."""
    app = _app(pool, make_wsgi_app(registry), clock)
    try:
        server = make_server("", port, app, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise ConfigurationError(
            f"health port {port} cannot be opened ({error.strerror}): choose another"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="kongtask-health", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of probers that hang up."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests."""


def _app(pool: Probed, metrics: Any, clock: Clock) -> Callable[..., Iterable[bytes]]:
    def livez() -> tuple[bool, str]:
        standstill = clock.monotonic() - pool.turned_at
        if standstill > STANDSTILL:
            return False, f"the event loop has not turned for {standstill:.0f} s"
        return pool.is_alive, "ok" if pool.is_alive else "the pool of workers has ended"

    def readyz() -> tuple[bool, str]:
        if pool.is_stopping:
            return False, "draining"
        if pool.trouble is not None:
            return False, f"the database does not answer: {pool.trouble}"
        return pool.is_ready, "ok" if pool.is_ready else "the database has not answered yet"

    probes = {"/livez": livez, "/readyz": readyz}

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return metrics(environ, start_response)  # type: ignore[no-any-return]
        if path not in probes:
            start_response("404 Not Found", _text())
            return [b"try /livez, /readyz or /metrics\n"]
        good, text = probes[path]()
        start_response("200 OK" if good else "503 Service Unavailable", _text())
        return [f"{text}\n".encode()]

    return app


def _text() -> list[tuple[str, str]]:
    """Return headers anew each time: the server adds the length of one answer to them."""
    return [("Content-Type", "text/plain; charset=utf-8")]

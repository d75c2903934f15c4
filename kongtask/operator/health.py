"""Tells whether the operator gets on, and counts what it does.

Alive means that the event loop turns and that no pool's pass hangs. That a cluster or a database is
away is not death: starting anew would not help.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from kongtask.clock import Clock
from kongtask.operator.model import PoolKey, PoolStatus

LONGEST_PASS = 180.0
"""Seconds after which a pass that has not ended counts as hanging."""


class Progress:
    """Keeps count of passes and of what pools look like."""

    def __init__(self, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        self._begun: dict[PoolKey, float] = {}
        self._passes = Counter(
            "kongtask_operator_reconcile", "Passes over pools.", ["result"], registry=self.registry
        )
        self._seconds = Histogram(
            "kongtask_operator_reconcile_duration_seconds",
            "How long a pass took.",
            registry=self.registry,
        )
        self._ready = self._gauge("queue_ready", "Jobs that could run now.")
        self._running = self._gauge("queue_running", "Jobs that are running.")
        self._replicas = self._gauge("replicas", "Worker pods.", "state")
        self._conditions = self._gauge("condition", "Conditions, 1 for True.", "type")

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        names = ["namespace", "pool", *labels]
        return Gauge(f"kongtask_pool_{name}", text, names, registry=self.registry)

    @contextmanager
    def measured(self, key: PoolKey) -> Iterator[None]:
        """Take the time of one pass over a pool."""
        begun = self._begun[key] = self._clock.monotonic()
        result = "failed"
        try:
            yield
            result = "done"
        finally:
            self._begun.pop(key, None)
            self._passes.labels(result).inc()
            self._seconds.observe(self._clock.monotonic() - begun)

    def noted(self, key: PoolKey, status: PoolStatus) -> None:
        """Show a pool's latest numbers."""
        pool = (key.namespace, key.name)
        if status.queue is not None:
            self._ready.labels(*pool).set(status.queue.ready)
            self._running.labels(*pool).set(status.queue.running)
        self._replicas.labels(*pool, "desired").set(status.desired_replicas)
        self._replicas.labels(*pool, "ready").set(status.ready_replicas)
        self._replicas.labels(*pool, "draining").set(status.draining_replicas)
        for each in status.conditions:
            self._conditions.labels(*pool, each.type).set(each.status == "True")

    def left(self, key: PoolKey) -> None:
        """Forget a pool that is no longer followed."""
        self._begun.pop(key, None)
        for metric in (self._ready, self._running, self._replicas, self._conditions):
            metric.remove_by_labels({"namespace": key.namespace, "pool": key.name})

    def hanging(self) -> list[str]:
        """Return the pools whose pass began too long ago."""
        limit = self._clock.monotonic() - LONGEST_PASS
        return [str(key) for key, begun in self._begun.items() if begun < limit]


def health_app(progress: Progress, is_ready: Callable[[], bool]) -> web.Application:
    """Return the HTTP application with /livez, /readyz and /metrics."""

    async def livez(_: web.Request) -> web.Response:
        stuck = progress.hanging()
        text = f"passes that hang: {', '.join(stuck)}\n" if stuck else "ok\n"
        return web.Response(text=text, status=503 if stuck else 200)

    async def readyz(_: web.Request) -> web.Response:
        ready = is_ready()
        return web.Response(text="ok\n" if ready else "starting\n", status=200 if ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(progress.registry), content_type="text/plain")

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz)])
    app.add_routes([web.get("/metrics", metrics)])
    return app

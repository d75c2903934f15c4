"""KongTask by its public API."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from protocol import Order, Work, serve

from kongtask import EventBus, TaskSpec, WorkerPoolOptions, WorkerUtils, run_task_list
from kongtask.telemetry import configure_tracing


class KongTask:
    """KongTask, with its defaults but for the number of jobs at a time."""

    def __init__(self, order: Order) -> None:
        self._order = order
        # The SDK reads its sampler from the process.
        os.environ.update(order.settings.get("tracing", {}))
        self._flush: Callable[[], None] = configure_tracing(os.environ)
        if order.settings.get("bare"):
            _take_away()

    async def open(self) -> None:
        self._utils = await WorkerUtils.connect(self._order.dsn)

    async def close(self) -> None:
        await self._utils.release()

    async def migrate(self) -> None:
        await self.open()
        await self._utils.migrate()
        await self.close()

    async def add_many(self, payloads: list[dict[str, Any]], queues: list[str | None]) -> None:
        jobs = [
            ("bench", payload, TaskSpec(queue_name=queue) if queue else None)
            for payload, queue in zip(payloads, queues, strict=True)
        ]
        await self._utils.add_jobs(jobs, return_jobs=False)

    async def add_one(self, payload: dict[str, Any]) -> None:
        await self._utils.add_job("bench", payload)

    @asynccontextmanager
    async def working(self, work: Work) -> AsyncIterator[None]:
        async def bench(payload: Any, helpers: Any) -> None:
            await work.handle(payload, helpers.job.attempts)

        options = WorkerPoolOptions(concurrency=work.concurrency, no_handle_signals=True)
        async with await run_task_list({"bench": bench}, self._order.dsn, options):
            yield
        await asyncio.to_thread(self._flush)


def _take_away() -> None:
    """Take away what can be had without: events, heartbeats after the first, and tracing."""
    from kongtask import tracing
    from kongtask.worker.heart import Heart

    async def rest(self: object, store: object) -> None:
        await asyncio.Event().wait()

    untold = tracing.Processing()
    replaced = (
        (EventBus, "emit", lambda *_: None),
        (tracing.Tracing, "processing", lambda *_, **__: untold),
        (Heart, "run", rest),
    )
    for owner, name, instead in replaced:
        assert hasattr(owner, name), f"{owner.__name__}.{name} is gone: name what took its place"
        setattr(owner, name, instead)


serve(KongTask)

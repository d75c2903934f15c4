"""Procrastinate on psycopg."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from procrastinate import App, PsycopgConnector
from protocol import Order, Work, serve

logging.getLogger("procrastinate").setLevel(logging.CRITICAL)


class Procrastinate:
    """Procrastinate, whose locks are the named queues."""

    def __init__(self, order: Order) -> None:
        self._order = order
        name = "fetch_job_polling_interval"
        self._polling = {name: order.settings[name]} if name in order.settings else {}
        connector = PsycopgConnector(conninfo=order.dsn, min_size=10, max_size=20)
        self._app = App(connector=connector)
        self._work: Work | None = None

        @self._app.task(name="bench")
        async def bench(**payload: Any) -> None:
            assert self._work is not None
            await self._work.handle(payload, 1)

        self._task = bench

    async def open(self) -> None:
        await self._app.open_async()

    async def close(self) -> None:
        await self._app.close_async()

    async def migrate(self) -> None:
        async with self._app.open_async():
            await self._app.schema_manager.apply_schema_async()

    async def add_many(self, payloads: list[dict[str, Any]], queues: list[str | None]) -> None:
        if queues[0] is None:
            await self._task.batch_defer_async(*payloads)
            return
        for payload, queue in zip(payloads, queues, strict=True):
            await self._task.configure(lock=queue).defer_async(**payload)

    async def add_one(self, payload: dict[str, Any]) -> None:
        await self._task.defer_async(**payload)

    @asynccontextmanager
    async def working(self, work: Work) -> AsyncIterator[None]:
        self._work = work
        async with self._app.open_async():
            running = asyncio.create_task(
                self._app.run_worker_async(
                    concurrency=work.concurrency, install_signal_handlers=False, **self._polling
                )
            )
            yield
            running.cancel()
            await asyncio.wait([running], timeout=5)


serve(Procrastinate)

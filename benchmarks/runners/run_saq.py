"""SAQ on PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from protocol import Order, Work, serve
from saq import Queue, Worker

logging.getLogger("saq").setLevel(logging.CRITICAL)


class Saq:
    """SAQ, which adds jobs one by one."""

    def __init__(self, order: Order) -> None:
        self._order = order

    async def open(self) -> None:
        self._queue = Queue.from_url(self._order.dsn)
        await self._queue.connect()

    async def close(self) -> None:
        await self._queue.disconnect()

    async def migrate(self) -> None:
        await self.open()
        await self.close()

    async def add_many(self, payloads: list[dict[str, Any]], queues: list[str | None]) -> None:
        for start in range(0, len(payloads), 20):
            some = payloads[start : start + 20]
            await asyncio.gather(*(self.add_one(payload) for payload in some))

    async def add_one(self, payload: dict[str, Any]) -> None:
        await self._queue.enqueue("bench", **payload)

    @asynccontextmanager
    async def working(self, work: Work) -> AsyncIterator[None]:
        async def bench(context: Any, **payload: Any) -> None:
            await work.handle(payload, 1)

        queue = Queue.from_url(self._order.dsn)
        await queue.connect()
        worker = Worker(queue, [("bench", bench)], concurrency=work.concurrency)
        worker.SIGNALS = []
        running = asyncio.create_task(worker.start())
        yield
        await worker.stop()
        running.cancel()
        await asyncio.wait([running], timeout=5)
        await queue.disconnect()


serve(Saq)

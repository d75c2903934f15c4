"""PgQueuer on asyncpg."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries
from protocol import Order, Work, serve

logging.getLogger("pgqueuer").setLevel(logging.CRITICAL)


class PgQueuer:
    """PgQueuer, with the batch size that is ordered."""

    def __init__(self, order: Order) -> None:
        self._order = order

    async def open(self) -> None:
        self._pool = await asyncpg.create_pool(self._order.dsn, min_size=10, max_size=10)
        self._queries = Queries(AsyncpgPoolDriver(self._pool))

    async def close(self) -> None:
        await self._pool.close()

    async def migrate(self) -> None:
        connection = await asyncpg.connect(self._order.dsn)
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    async def add_many(self, payloads: list[dict[str, Any]], queues: list[str | None]) -> None:
        count = len(payloads)
        texts: list[bytes | None] = [json.dumps(payload).encode() for payload in payloads]
        await self._queries.enqueue(["bench"] * count, texts, [0] * count)

    async def add_one(self, payload: dict[str, Any]) -> None:
        await self._queries.enqueue("bench", json.dumps(payload).encode())

    @asynccontextmanager
    async def working(self, work: Work) -> AsyncIterator[None]:
        connection = await asyncpg.connect(self._order.dsn)
        manager = QueueManager(Queries(AsyncpgDriver(connection)))

        @manager.entrypoint("bench")
        async def bench(job: Any) -> None:
            await work.handle(json.loads(job.payload), job.attempts + 1)

        running = asyncio.create_task(
            manager.run(batch_size=self._order.settings.get("batch_size", 10))
        )
        yield
        manager.shutdown.set()
        await running


serve(PgQueuer)

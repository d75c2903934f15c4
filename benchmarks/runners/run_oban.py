"""Oban for Python."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from oban import Oban, worker
from oban.schema import install
from protocol import Order, Work, serve

logging.getLogger("oban").setLevel(logging.ERROR)
current: list[Work] = []


@worker(queue="default")
class Bench:
    """The job of all workloads."""

    async def process(self, job: Any) -> None:
        await current[0].handle(job.args, job.attempt)


class ObanQueue:
    """Oban, with one queue of as many jobs at a time as are ordered."""

    def __init__(self, order: Order) -> None:
        self._order = order

    async def open(self) -> None:
        self._pool = await Oban.create_pool(self._order.dsn, min_size=10, max_size=10)
        self._oban = Oban(pool=self._pool)

    async def close(self) -> None:
        await self._pool.close()

    async def migrate(self) -> None:
        pool = await Oban.create_pool(self._order.dsn)
        await install(pool)
        await pool.close()

    async def add_many(self, payloads: list[dict[str, Any]], queues: list[str | None]) -> None:
        await self._oban.enqueue_many([Bench.new(payload) for payload in payloads])

    async def add_one(self, payload: dict[str, Any]) -> None:
        await self._oban.enqueue(Bench.new(payload))

    @asynccontextmanager
    async def working(self, work: Work) -> AsyncIterator[None]:
        current.append(work)
        pool = await Oban.create_pool(self._order.dsn)
        async with Oban(pool=pool, queues={"default": work.concurrency}):
            yield
        await pool.close()


serve(ObanQueue)

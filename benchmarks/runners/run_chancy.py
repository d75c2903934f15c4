"""Chancy with its asyncio executor."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import chancy_job
from chancy import Chancy, Job, Queue, Worker
from protocol import Order, Work, serve

OUTGOING = 0.01
"""Seconds between two writes of outcomes; by default 1, in which fast jobs wait for it."""

log = logging.getLogger("chancy-benchmark")
log.setLevel(logging.CRITICAL)


class ChancyQueue:
    """Chancy, with one queue that asks again after each job."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._chancy = Chancy(order.dsn, log=log)

    async def open(self) -> None:
        await self._chancy.__aenter__()

    async def close(self) -> None:
        await self._chancy.__aexit__(None, None, None)

    async def migrate(self) -> None:
        async with self._chancy:
            await self._chancy.migrate()

    async def add_many(self, payloads: list[dict[str, Any]], queues: list[str | None]) -> None:
        jobs = [_job(payload) for payload in payloads]
        async for _ in self._chancy.push_many(jobs, batch_size=len(jobs)):
            pass

    async def add_one(self, payload: dict[str, Any]) -> None:
        await self._chancy.push(_job(payload))

    @asynccontextmanager
    async def working(self, work: Work) -> AsyncIterator[None]:
        chancy_job.current.append(work)
        queue = Queue(
            "default", concurrency=work.concurrency, executor=Chancy.Executor.Async,
            eager_polling=True, polling_interval=1,
        )  # fmt: skip
        async with self._chancy as chancy:
            await chancy.declare(queue, upsert=True)
            worker = Worker(chancy, register_signal_handlers=False)
            worker.send_outgoing_interval = OUTGOING
            async with worker:
                yield


def _job(payload: dict[str, Any]) -> Job:
    return Job.from_func(chancy_job.bench).with_kwargs(**payload)


serve(ChancyQueue)

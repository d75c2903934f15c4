"""What a pool of workers and its server are seen to do, in things that can be counted."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from waiting import until

from kongtask import WorkerPoolOptions, WorkerUtils
from kongtask.clock import Clock

LEFT = "select count(*) from graphile_worker._private_jobs"


class Counted:
    """A pool of connections, all the statements that were sent over them, and its server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.statements: list[str] = []

    @asynccontextmanager
    async def pool(self) -> AsyncIterator[asyncpg.Pool[Any]]:
        # By `connect`: whoever opens connections of its own from the pool is counted too.
        async with asyncpg.create_pool(
            self._url, min_size=0, max_size=10, connect=self._connect
        ) as pool:
            yield pool

    async def _connect(self, *arguments: Any, **options: Any) -> Any:
        connection = await asyncpg.connect(*arguments, **options)
        connection.add_query_logger(self._note)
        return connection

    def _note(self, query: Any) -> None:
        self.statements.append(query.query)

    def has(self, words: str) -> int:
        """Return how many statements hold these words."""
        return sum(words in each for each in self.statements)

    async def value(self, query: str) -> int:
        """Ask over a connection that does not count."""
        connection = await asyncpg.connect(self._url)
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()

    async def wal(self) -> int:
        """Return the bytes of WAL written so far."""
        return await self.value("select pg_current_wal_insert_lsn() - '0/0'")

    async def transactions(self) -> int:
        """Return the transactions of all sessions that have ended; sessions tell at their end."""
        others = (
            "select count(*) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )

        async def are_alone() -> bool:
            return await self.value(others) == 0

        await until(are_alone)
        return await self.value(
            "select xact_commit + xact_rollback from pg_stat_database "
            "where datname = current_database()"
        )


async def nothing(_payload: Any, _helpers: Any) -> None:
    pass


TASKS = {"nothing": nothing}


async def add(pool: asyncpg.Pool[Any], count: int) -> None:
    await WorkerUtils(pool).add_jobs([("nothing", {"n": 1}, None)] * count, return_jobs=False)


def options(concurrency: int = 1) -> WorkerPoolOptions:
    return WorkerPoolOptions(concurrency=concurrency, no_handle_signals=True, clock=Steady())


class Steady(Clock):
    """The machine's clock without chance."""

    def jitter(self, low: float = 0.5, high: float = 1.5) -> float:
        return (low + high) / 2


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def told(**numbers: float) -> None:
    """Show what was counted, with `pytest -s`, to those who would move a bound."""
    print(" ".join(f"{name}={value:.4g}" for name, value in numbers.items()))

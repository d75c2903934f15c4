"""One connection to each database that pools use: hears of added jobs and lends itself for reading.

However many pools share a connection string, its server sees one session. It refuses to hide that
the database is away: borrowing then raises why.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, cast

import asyncpg

from kongtask.clock import Clock
from kongtask.errors import KongTaskError, StoreUnavailable
from kongtask.postgres.listener import JOBS_CHANNEL, added_count
from kongtask.postgres.pool import LOST, connect, describe, translated

LONGEST_DELAY = 30.0
"""Seconds between attempts to connect again, at most."""

ANSWER_TIMEOUT = 10.0
"""Seconds after which a borrower that got no answer drops the connection."""


def reconnect_delay(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row, before jitter.

    >>> reconnect_delay(1), reconnect_delay(10)
    (0.5, 30.0)
    """
    return float(min(LONGEST_DELAY, 0.25 * 2 ** min(failures, 10)))


Session: TypeAlias = "asyncpg.Connection[Any]"
"""A connection that is lent for one purpose."""


class _SingleConnection:
    """Behaves like a pool of one connection, for stores that ask a pool."""

    def __init__(self, connection: Session) -> None:
        self._connection = connection
        self.fetch = connection.fetch
        self.execute = connection.execute

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Session]:
        yield self._connection


def single_connection_pool(connection: Session) -> asyncpg.Pool[Any]:
    """Return what a store needs of a pool, over one connection that was lent."""
    return cast("asyncpg.Pool[Any]", _SingleConnection(connection))


class QueueWatcher:
    """Keeps one connection listening; calls `on_jobs` when jobs were added or may have been."""

    def __init__(self, dsn: str, *, on_jobs: Callable[[], None], clock: Clock) -> None:
        self._dsn = dsn
        self._on_jobs = on_jobs
        self._clock = clock
        self._turn = asyncio.Lock()
        self._tried = asyncio.Event()
        self._connection: asyncpg.Connection[Any] | None = None
        self._error: KongTaskError | None = None
        self._failures = 0

    async def run(self) -> None:
        """Listen, and connect again after each loss, until cancelled."""
        while True:
            try:
                await self._listen()
            except KongTaskError as error:
                self._error = error
            except Exception as error:  # whoever waits must hear of anything
                self._error = StoreUnavailable(f"{describe(self._dsn)}: {type(error).__name__}")
            self._failures += 1
            self._tried.set()
            self._on_jobs()
            delay = reconnect_delay(self._failures) * self._clock.jitter(0.8, 1.2)
            await self._clock.sleep(delay)

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """Lend the connection to one caller at a time.

        Raises `ConfigurationError` or `StoreUnavailable` while there is none.
        """
        await self._tried.wait()
        async with self._turn:
            if self._connection is None:
                raise self._error or StoreUnavailable(f"{describe(self._dsn)}: connection lost")
            connection = self._connection
            try:
                async with translated(self._dsn), asyncio.timeout(ANSWER_TIMEOUT):
                    yield connection
            except StoreUnavailable:
                connection.terminate()
                raise

    async def _listen(self) -> None:
        connection = await connect(self._dsn, application_name="kongtask-operator")
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            async with translated(self._dsn):
                await connection.add_listener(JOBS_CHANNEL, self._hear)
            self._connection, self._failures = connection, 0
            self._tried.set()
            self._on_jobs()
            await lost.wait()
            raise StoreUnavailable(f"{describe(self._dsn)}: the server closed the connection")
        finally:
            self._connection = None
            await _closed(connection)

    def _hear(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        if added_count(str(payload)):
            self._on_jobs()


async def _closed(connection: asyncpg.Connection[Any]) -> None:
    try:
        await connection.close(timeout=1)
    except LOST:
        connection.terminate()

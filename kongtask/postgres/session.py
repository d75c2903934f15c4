"""One connection of a pool, kept for one purpose for as long as it works.

Taking a connection for each statement would cost a second round trip to reset it. It refuses to
retry: the caller knows whether a statement may be sent twice.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg

from kongtask.errors import StoreUnavailable
from kongtask.postgres.pool import LOST
from kongtask.postgres.records import translated_statement

STATEMENT_LIMIT = 60.0
"""Seconds after which a statement that brings no answer counts as lost with its connection."""

_PASSING: tuple[type[BaseException], ...] = (
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.PostgresSystemError,
)
"""What the server says when it is in trouble that passes: deadlocks, full disks."""


class Session:
    """A connection that is taken at its first use and replaced after it broke.

    `opening` is a statement, with its arguments, that each new connection begins with.
    """

    def __init__(
        self, pool: asyncpg.Pool[Any], schema: str, opening: tuple[str, ...] | None = None
    ) -> None:
        self._pool = pool
        self._schema = schema
        self._opening = opening
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def fetch(self, statement: str, *arguments: object) -> list[Any]:
        """Run one statement; raises `StoreUnavailable` when the connection is lost."""
        async with self._turn:
            with translated_statement(self._schema):
                try:
                    if self._connection is None:
                        await self._take()
                    return await self._connection.fetch(  # type: ignore[no-any-return]
                        statement, *arguments, timeout=STATEMENT_LIMIT
                    )
                except LOST:
                    await self._give_back()
                    raise
                except asyncpg.ReadOnlySQLTransactionError as error:
                    self._connection.terminate()  # the server was demoted; another may take over
                    await self._give_back()
                    raise StoreUnavailable(f"PostgreSQL takes no writes now: {error}") from error
                except _PASSING as error:
                    raise StoreUnavailable(f"PostgreSQL cannot do this now: {error}") from error

    async def _take(self) -> None:
        try:
            taken = await self._pool.acquire(timeout=STATEMENT_LIMIT)
        except TimeoutError as error:
            raise StoreUnavailable(
                "no connection in time: PostgreSQL does not answer, or the connection pool is too "
                "small for what uses it"
            ) from error
        except asyncpg.PostgresError as error:  # such as a password that was changed
            raise StoreUnavailable(f"no new connection to PostgreSQL: {error}") from error
        try:
            if self._opening is not None:
                await taken.fetch(*self._opening, timeout=STATEMENT_LIMIT)
        except BaseException:
            await self._release(taken)
            raise
        self._connection = taken

    async def close(self) -> None:
        """Give the connection back to its pool. Closing twice is fine."""
        async with self._turn:
            await self._give_back()

    async def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._release(connection)

    async def _release(self, connection: Any) -> None:
        with suppress(Exception):  # asyncpg ends one that cannot be reset
            await self._pool.release(connection, timeout=1)

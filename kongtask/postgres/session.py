"""One connection of a pool, kept for one purpose for as long as it works.

Taking a connection for each statement would cost a second round trip to reset it. It refuses to
retry: the caller knows whether a statement may be sent twice.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from kongtask.postgres.pool import LOST
from kongtask.postgres.records import translated_statement


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
                    return await self._connection.fetch(statement, *arguments)  # type: ignore[no-any-return]
                except LOST:
                    await self._give_back()
                    raise

    async def _take(self) -> None:
        self._connection = await self._pool.acquire()
        if self._opening is not None:
            await self._connection.fetch(*self._opening)

    async def close(self) -> None:
        """Give the connection back to its pool. Closing twice is fine."""
        async with self._turn:
            await self._give_back()

    async def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await self._pool.release(connection, timeout=1)
        except LOST:
            connection.terminate()

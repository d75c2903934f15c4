"""One connection of a pool, kept for one purpose for as long as it works.

Taking a connection for each statement would cost a second round trip to reset it. It refuses to
retry: the caller knows whether a statement may be sent twice. However often callers try, it does
not connect more often than a server in trouble can bear.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg

from kongtask.clock import Clock
from kongtask.errors import StoreUnavailable
from kongtask.postgres.pool import LOST, borrow, who_answers
from kongtask.postgres.records import translated_statement
from kongtask.postgres.refusals import lost
from kongtask.postgres.statements import statement

STATEMENT_LIMIT = 60.0
"""Seconds after which a statement that brings no answer counts as lost with its connection."""

LONGEST_DELAY = 2.0
"""Seconds between a connection that failed and the next attempt, at most, before jitter."""

_PASSING: tuple[type[BaseException], ...] = (
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
)
"""What the server says when it is in trouble that passes: full disks."""

_FAREWELLS = (asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg says of a connection that was closed, in its own words; with an argument that it
could not send, the error is a `ValueError` too."""


class RowHeld(StoreUnavailable):
    """Somebody else holds a row that the statement is about; other rows may be free."""


class Clash(StoreUnavailable):
    """The statement met others, in a deadlock or a failed serialisation, and was undone."""


def reconnect_delay(failures: int) -> float:
    """Return the seconds between so many failures in a row and the next attempt, before jitter.

    >>> reconnect_delay(0), reconnect_delay(1), reconnect_delay(1000)
    (0.0, 0.05, 2.0)
    """
    return min(LONGEST_DELAY, 0.05 * 2 ** min(failures - 1, 10)) if failures else 0.0


class Session:
    """A connection that is taken at its first use and replaced after it broke.

    Each new connection plans by index, and begins with `opening`, a statement with its arguments.
    Through a pooler both are left out: there the session is everybody's.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        schema: str,
        opening: tuple[str, ...] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._pool = pool
        self._schema = schema
        self._openings = [(statement("plan_by_index", schema),), *([opening] if opening else ())]
        self._clock = clock or Clock()
        self._failures = 0
        self._next_attempt = 0.0
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        """Run one statement; raises `StoreUnavailable` when the connection is lost."""
        async with self._turn:
            with translated_statement(self._schema):
                try:
                    rows = await self._fetch(query, arguments)
                except LOST as error:
                    await self._lose()
                    if isinstance(error, _FAREWELLS) and not isinstance(error, ValueError):
                        raise lost("the server closed it") from error
                    raise
                except asyncpg.ReadOnlySQLTransactionError as error:
                    self._connection.terminate()  # the server was demoted; another may take over
                    await self._lose()
                    raise StoreUnavailable(f"PostgreSQL takes no writes now: {error}") from error
                except asyncpg.LockNotAvailableError as error:
                    raise RowHeld(f"PostgreSQL cannot do this now: {error}") from error
                except asyncpg.TransactionRollbackError as error:
                    raise Clash(f"PostgreSQL cannot do this now: {error}") from error
                except _PASSING as error:
                    raise StoreUnavailable(f"PostgreSQL cannot do this now: {error}") from error
        self._failures = 0
        return rows

    async def _fetch(self, query: str, arguments: tuple[object, ...]) -> list[Any]:
        if self._connection is None:
            await self._take()
        return await self._connection.fetch(  # type: ignore[no-any-return]
            query, *arguments, timeout=STATEMENT_LIMIT
        )

    async def _take(self) -> None:
        await self._clock.sleep(max(0.0, self._next_attempt - self._clock.monotonic()))
        try:
            taken = await borrow(self._pool)
        except TimeoutError as error:
            self._put_off()
            raise StoreUnavailable(
                "no connection in time: PostgreSQL does not answer, or the connection pool is too "
                "small for what uses it"
            ) from error
        except asyncpg.PostgresError as error:  # such as a password that was changed
            self._put_off()
            raise StoreUnavailable(f"no new connection to PostgreSQL: {error}") from error
        try:
            if not (await who_answers(taken))[0]:
                for query, *arguments in self._openings:
                    await taken.fetch(query, *arguments, timeout=STATEMENT_LIMIT)
        except BaseException:
            await self._release(taken)
            raise
        self._connection = taken

    async def _lose(self) -> None:
        self._put_off()
        await self._give_back()

    def _put_off(self) -> None:
        self._failures += 1
        delay = reconnect_delay(self._failures) * self._clock.jitter(0.5, 1.0)
        self._next_attempt = self._clock.monotonic() + delay

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

"""A schema that is made, measured in, and taken away again, whatever happens meanwhile.

It refuses to touch a schema that it did not make.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg

from kongtask.errors import ConfigurationError, StoreUnavailable
from kongtask.postgres.migrations import run_migrations
from kongtask.postgres.pool import LOST
from kongtask.postgres.records import translated_statement
from kongtask.postgres.statements import quote_schema, statement, statement_text

PATIENCE = 20.0
"""Seconds that taking the schema away may take."""

PAUSE = 0.1
"""Seconds between two attempts at it, when connections are lost."""


@asynccontextmanager
async def scratch_schema(pool: asyncpg.Pool[Any], schema: str) -> AsyncIterator[None]:
    """Make and migrate the schema for as long as the block runs.

    Raises `ConfigurationError` when there is one of this name, and `StoreUnavailable` when the
    database is lost or the schema cannot be taken away.
    """
    quote_schema(schema)
    making = asyncio.ensure_future(_create(pool, schema))
    try:
        # Who is told to end in the middle of it must still know whether there is something to drop.
        await asyncio.shield(making)
        with translated_statement(schema):
            await run_migrations(pool, schema)
            yield
    finally:
        await asyncio.wait({making})
        if making.exception() is None:
            await _drop(pool, schema)


async def check_connections(pool: asyncpg.Pool[Any], schema: str, count: int) -> None:
    """Raise `ConfigurationError` unless so many connections can be open at once."""
    with translated_statement(schema):
        try:
            async with AsyncExitStack() as stack:
                for _ in range(count):
                    await stack.enter_async_context(pool.acquire())
        except asyncpg.TooManyConnectionsError as error:
            raise ConfigurationError(
                f"{count} connections are needed at once, and PostgreSQL refuses some ({error}): "
                "raise the limit of this role or of the server, or end what else is connected"
            ) from error


async def clear(pool: asyncpg.Pool[Any], schema: str) -> None:
    """Forget all jobs that are in the scratch schema."""
    with translated_statement(schema):
        await pool.execute(statement("bench_clear", schema))


async def durability(pool: asyncpg.Pool[Any]) -> tuple[bool, str]:
    """Return the server's fsync, and the role's synchronous_commit."""
    [row] = await pool.fetch(statement_text("bench_durability"))
    return row["fsync"], row["synchronous_commit"]


class Probe:
    """One connection, asked for as little as possible, to see what that costs."""

    def __init__(self, connection: Any, schema: str) -> None:
        self._connection = connection
        self._question = statement_text("bench_round_trip")
        self._write = statement("bench_commit", schema)
        self._written = 0

    async def round_trip(self) -> None:
        """Ask something that costs nothing."""
        await self._connection.execute(self._question)

    async def commit(self) -> None:
        """Write one small row in a transaction of its own."""
        self._written += 1
        await self._connection.fetch(self._write, str(self._written))


async def _create(pool: asyncpg.Pool[Any], schema: str) -> None:
    with translated_statement(schema):
        try:
            await pool.execute(statement("bench_create", schema))
        except (asyncpg.DuplicateSchemaError, asyncpg.UniqueViolationError) as error:
            raise ConfigurationError(
                f'schema "{schema}" exists, and is left alone: give -s a name that is free, or '
                "drop it yourself if a measurement that was killed has left it"
            ) from error
        except asyncpg.InsufficientPrivilegeError as error:
            raise ConfigurationError(
                f"this role may not make a schema ({error}): connect as one that may"
            ) from error
        except asyncpg.ReservedNameError as error:
            raise ConfigurationError(
                f'PostgreSQL keeps names such as "{schema}" for itself: give -s another one'
            ) from error
        except asyncpg.ReadOnlySQLTransactionError as error:
            raise ConfigurationError(
                "this database takes no writes, as a standby or for this role: connect to one "
                "that does"
            ) from error


async def _drop(pool: asyncpg.Pool[Any], schema: str) -> None:
    """Take the schema away; who is told to end meanwhile ends afterwards."""
    dropping = asyncio.ensure_future(_dropped(pool, schema))
    try:
        await asyncio.shield(dropping)
    except asyncio.CancelledError:
        await dropping
        raise


async def _dropped(pool: asyncpg.Pool[Any], schema: str) -> None:
    lost: BaseException | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await pool.execute(statement("bench_drop", schema))
                    return
                except LOST as error:  # others of the pool may have been lost with it
                    lost = error
                    await asyncio.sleep(PAUSE)
    except (TimeoutError, asyncpg.PostgresError) as error:
        raise StoreUnavailable(
            f'schema "{schema}" could not be dropped ({str(lost or error) or "timed out"}): '
            "drop it yourself"
        ) from error

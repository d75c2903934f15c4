"""Reads who holds locks, and what pools of workers say of themselves."""

from __future__ import annotations

from typing import Any

from kongtask.core.holders import Holder, Pool
from kongtask.postgres.records import translated_statement
from kongtask.postgres.statements import statement


async def read_holders(connection: Any, schema: str) -> tuple[Holder, ...]:
    """Return who holds locks in a schema, the oldest first; an asyncpg pool will do as well.

    Raises `ConfigurationError` when the schema lacks its tables or the role may not read them,
    `StoreUnavailable` when the connection is lost.
    """
    with translated_statement(schema):
        pools = {pool.pool_id: pool for pool in await read_pools(connection, schema)}
        rows = await connection.fetch(statement("unlock_holders", schema))
    return tuple(Holder(**row, pool=pools.get(row["pool_id"])) for row in rows)


async def read_pools(connection: Any, schema: str) -> tuple[Pool, ...]:
    """Return what the pools of workers of a schema say of themselves; raises what asyncpg does."""
    rows = await connection.fetch(statement("unlock_pools", schema))
    return tuple(Pool(**{**row, "tasks": tuple(row["tasks"] or ())}) for row in rows)

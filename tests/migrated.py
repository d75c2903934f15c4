"""A database with the tables that jobs are in."""

from __future__ import annotations

import asyncpg

from kongtask import run_migrations


async def migrate(url: str) -> None:
    """Make the schema graphile_worker."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await run_migrations(connection)
    finally:
        await connection.close()

"""Moves a schema of KongTask for Go to Graphile Worker's tables, jobs and all, in one transaction.

The old schema is kept under another name; whoever is satisfied drops it. It refuses to move jobs
that are running.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from kongtask.errors import ConfigurationError
from kongtask.postgres.level import is_of_go_kongtask, read_level
from kongtask.postgres.migrations import run_migrations
from kongtask.postgres.records import translated_statement
from kongtask.postgres.statements import quote_schema, sql_folder, statement

SUFFIX = "_kongtask_go"
"""What the old schema is called afterwards, after its name."""


async def migrate_from_go(pool: asyncpg.Pool[Any], schema: str) -> int:
    """Move the jobs and return how many there are now.

    Raises `ConfigurationError` when the schema is not of KongTask for Go, when jobs of it are
    running, or when the name for the old schema is taken.
    """
    async with pool.acquire() as connection, connection.transaction():
        with translated_statement(schema):
            await _check(connection, schema)
            old = schema[: 63 - len(SUFFIX)] + SUFFIX
            await _rename(connection, schema, old)
            await run_migrations(connection, schema)
            await connection.execute(_script("2_copy", schema, old))
            return int(await connection.fetchval(statement("count_jobs", schema)))


async def _check(connection: Any, schema: str) -> None:
    if not is_of_go_kongtask(await read_level(connection, schema)):
        raise ConfigurationError(
            f'schema "{schema}" does not hold the tables of KongTask for Go: leave out '
            "--from-kongtask-go, or correct -s"
        )
    await connection.execute(statement("go_lock_jobs", schema))
    running = await connection.fetchval(statement("go_locked_jobs", schema))
    if running:
        raise ConfigurationError(
            f'{running} jobs of schema "{schema}" are running: stop the workers of KongTask for '
            "Go, and try again when their jobs have ended"
        )


async def _rename(connection: Any, schema: str, old: str) -> None:
    try:
        await connection.execute(_script("1_rename", schema, old))
    except asyncpg.DuplicateSchemaError as error:
        raise ConfigurationError(
            f'schema "{old}" exists already, the old tables cannot be kept under that name: '
            "drop or rename it"
        ) from error


def _script(name: str, schema: str, old: str) -> str:
    text = (sql_folder() / "from_kongtask_go" / f"{name}.sql").read_text("utf-8")
    quoted = quote_schema(schema)
    names = {"{literal}": quoted.replace("'", "''"), "{schema}": quoted, "{old}": quote_schema(old)}
    for place, name in names.items():
        text = text.replace(place, name)
    return text

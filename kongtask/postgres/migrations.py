"""Bringing a schema to the level of this version, whoever else does so at the same moment.

All steps that are missing run in one transaction, so that a schema is never seen half way. The rows
in `migrations` are inserted before the steps run and are the lock: another installer, of KongTask
or Graphile Worker, waits for them and then finds the work done. It refuses to go back, and to take
over what it does not know.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from kongtask.clock import Clock
from kongtask.errors import ConfigurationError, StoreUnavailable
from kongtask.postgres.level import (
    ADDITIONS,
    BREAKING_LEVELS,
    FIRST_LEVEL,
    GRAPHILE_LEVEL,
    Level,
    check_level,
    check_schema,
    missing_right,
    read_level,
    refusal,
)
from kongtask.postgres.records import translated_statement
from kongtask.postgres.statements import quote_schema, sql_folder, statement

__all__ = [
    "GRAPHILE_LEVEL", "Level", "check_level", "check_schema", "read_level", "run_migrations",
]  # fmt: skip

ATTEMPTS = 20
"""How often the schema is looked at before giving up on others who migrate it."""

LOOKS = 5
"""How often in a row a schema that changed lately must look the same before it is refused."""

PAUSE = 0.5
"""Seconds between two looks, before jitter."""

LOCK_TIMEOUT = "10s"
"""How long a step waits for those who use the tables."""

CLASHES: tuple[type[asyncpg.PostgresError], ...] = (
    asyncpg.UniqueViolationError,
    asyncpg.DuplicateSchemaError,
    asyncpg.DuplicateTableError,
    asyncpg.DuplicateObjectError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
)
"""What Postgres says when somebody else does the same at the same moment."""

DELIMITER = "$kongtask"
"""Begins what stands around the bodies of functions, and around names in them, in the scripts."""

FOUNDATION: tuple[tuple[str, Callable[[Level], bool]], ...] = (
    ("schema", lambda level: level.owner is None),
    ("migrations", lambda level: "migrations" not in level.relations),
    ("breaking", lambda level: bool(level.columns) and "breaking boolean" not in level.columns),
    ("kongtask_migrations", lambda level: "_kongtask_migrations" not in level.relations),
)
"""What the steps stand on, each part with the fact that it is missing."""


async def run_migrations(
    executor: Any, schema: str = "graphile_worker", *, clock: Clock | None = None
) -> int:
    """Bring a schema to this version's level and return the level reached.

    Takes a pool or a connection. Any number of processes may do so at once. Raises what
    `check_level` raises for schemas that cannot be taken over, `DatabaseRefused` when the role
    lacks a right, and `StoreUnavailable` when others hold the tables for too long. The tables are
    Graphile Worker's.

    schema: 1 to 63 bytes; default graphile_worker.

    Example::

        assert await run_migrations(pool, "my_jobs") == await run_migrations(pool, "my_jobs")
    """
    quote_schema(schema)
    if DELIMITER in schema:
        raise ConfigurationError(f"schema must not contain {DELIMITER}, got {schema!r}: rename it")
    with translated_statement(schema):
        async with _connection(executor) as connection:
            return await _migrate(connection, schema, clock or Clock())


@asynccontextmanager
async def _connection(executor: Any) -> AsyncIterator[Any]:
    if hasattr(executor, "acquire"):
        async with executor.acquire() as connection:
            yield connection
    else:
        yield executor


async def _migrate(connection: Any, schema: str, clock: Clock) -> int:
    seen: list[Level] = []
    clash: Exception | None = None
    for _ in range(ATTEMPTS):
        level = await read_level(connection, schema)
        if error := refusal(level, schema):
            # In the middle of Graphile Worker's own installation, a schema looks foreign.
            seen = [*seen, level][-LOOKS:]
            if level.settled or seen == [level] * LOOKS:
                raise error
        elif _is_complete(level):
            check_level(level, schema)
            return level.graphile or GRAPHILE_LEVEL
        else:
            clash = await _apply(connection, schema, level)
            if clash is None:
                continue
        await clock.sleep(PAUSE * clock.jitter())
    raise StoreUnavailable(
        f'schema "{schema}" could not be migrated in {ATTEMPTS} attempts because others use or '
        f"migrate its tables ({clash}): end long transactions on them and try again"
    )


def _is_complete(level: Level) -> bool:
    reached = level.graphile or 0
    return reached >= GRAPHILE_LEVEL and level.additions >= len(ADDITIONS)


async def _apply(connection: Any, schema: str, level: Level) -> Exception | None:
    """Run what is missing, all or nothing; return the clash when somebody else is at it."""
    try:
        async with connection.transaction():
            await connection.fetch(statement("migration_limits", schema), LOCK_TIMEOUT)
            for name, is_missing in FOUNDATION:
                if is_missing(level):
                    await connection.execute(_script(f"foundation/{name}", schema))
            await _apply_levels(connection, schema, level.graphile or 0)
            await _apply_additions(connection, schema, level.additions)
    except CLASHES as clash:
        return clash
    except asyncpg.InsufficientPrivilegeError as error:
        raise missing_right(level, schema, "migrate") from error
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise ConfigurationError(
            "the server takes no writes: connect to the primary, not to a replica"
        ) from error
    except asyncpg.SyntaxOrAccessError as error:
        raise ConfigurationError(
            f'schema "{schema}" could not be migrated and is as it was: {error}: remove what is in '
            "the way, or choose another schema with -s"
        ) from error
    return None


async def _apply_levels(connection: Any, schema: str, reached: int) -> None:
    levels = range(reached + 1, GRAPHILE_LEVEL + 1)
    if not levels:
        return
    record = statement("migration_record", schema)
    await connection.execute(record, list(levels), list(BREAKING_LEVELS))
    for level in range(max(reached + 1, FIRST_LEVEL), GRAPHILE_LEVEL + 1):
        await connection.execute(_script(f"{level:06}", schema))
    # Nobody works on a schema that has no tables yet. Workers of other schemas would hear of a
    # breaking level all the same, and stop for nothing.
    for level in levels if reached else ():
        breaking = level in BREAKING_LEVELS
        await connection.fetch(statement("migration_announce", schema), level, breaking)


async def _apply_additions(connection: Any, schema: str, reached: int) -> None:
    numbers = list(range(reached + 1, len(ADDITIONS) + 1))
    await connection.execute(statement("migration_record_additions", schema), numbers)
    for number in numbers:
        await connection.execute(_script(f"kongtask/{ADDITIONS[number - 1]}", schema))


def _script(name: str, schema: str) -> str:
    text = (sql_folder() / "migrations" / f"{name}.sql").read_text(encoding="utf-8")
    return text.replace("{schema}", quote_schema(schema))

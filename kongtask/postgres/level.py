"""How far a schema is migrated, who made it, and whether this version can work on it.

Reading needs no more than the right to read two small tables. It refuses to change anything: see
`migrations` for that.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import asyncpg

from kongtask.errors import (
    ConfigurationError,
    DatabaseRefused,
    SchemaForeign,
    SchemaTooNew,
)
from kongtask.logger import StandardLogger
from kongtask.postgres.records import translated_statement
from kongtask.postgres.statements import quote_schema, statement

GRAPHILE_LEVEL = 20
"""The level of Graphile Worker's tables that this version makes and works on."""

FIRST_LEVEL = 16
"""The lowest level that is taken over; below it, tables and columns have other names."""

BREAKING_LEVELS = (1, 3, 11, 13, 14, 16, 19)
"""Levels that workers which do not know them must not work on."""

ADDITIONS = (
    "0001_trace_context",
    "0002_pools",
    "0003_locked_jobs_index",
    "0004_recovery",
    "0005_storage_and_adding",
    "0006_less_work",
    "0007_key_look_ups",
)
"""What KongTask adds to the tables, in order; the number of the last is the own level."""

OLDEST_SERVER = 14
"""The oldest PostgreSQL that is tested; Graphile Worker itself begins at 12."""

VERSION_TABLES = frozenset({"migrations", "_kongtask_migrations"})
TABLES = frozenset(
    {"jobs", "job_queues", "tasks", "known_crontabs"}
    | {"_private_jobs", "_private_job_queues", "_private_tasks", "_private_known_crontabs"}
    | {"_kongtask_pools"}
)
GO_LEVEL = 11
"""Where the Go KongTask ended; Graphile Worker's level of that number has a table `tasks`."""

_VERSION_COLUMNS = frozenset({"id integer", "ts timestamp with time zone"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What stands in a schema.

    graphile, breaking: the highest recorded level, and the highest breaking one. additions: the
    number of the last own addition. owner: of the schema, None when there is no such schema.
    relations: which of the names that matter exist. columns: of the table `migrations`. settled:
    the last level was recorded some seconds ago, so that nobody is in the middle of installing.
    """

    graphile: int | None = None
    breaking: int | None = None
    additions: int = 0
    settled: bool = True
    server: int = OLDEST_SERVER * 10000
    role: str = ""
    database: str = ""
    owner: str | None = None
    relations: frozenset[str] = frozenset()
    columns: frozenset[str] = frozenset()


async def read_level(connection: Any, schema: str) -> Level:
    """Read how far a schema is migrated; a pool will do as well.

    Raises `DatabaseRefused` when the role may not read it, `StoreUnavailable` when the connection
    is lost.
    """
    with translated_statement(schema):
        names = sorted(TABLES | VERSION_TABLES)
        catalog = await connection.fetchrow(statement("level_catalog", schema), schema, names)
        facts = dict(catalog)
        facts |= {key: frozenset(facts[key]) for key in ("relations", "columns")}
        level = Level(**facts)
        try:
            return replace(level, **await _numbers(connection, schema, level))
        except asyncpg.InsufficientPrivilegeError as error:
            raise missing_right(level, schema, "read") from error


async def check_schema(connection: Any, schema: str) -> None:
    """Read the level of a schema and raise what `check_level` and `read_level` raise."""
    check_level(await read_level(connection, schema), schema)


def check_level(level: Level, schema: str) -> None:
    """Raise unless this version can work on a schema of this level.

    `SchemaTooNew`: a newer, breaking version migrated it. `SchemaForeign`: it was made by something
    that cannot be taken over. `ConfigurationError`: it waits for `kongtask migrate`.
    """
    if error := refusal(level, schema):
        raise error
    if waiting := _waiting(level):
        raise ConfigurationError(
            f'schema "{schema}" {waiting}: run `kongtask migrate -s {shlex.quote(schema)}`'
        )
    if level.graphile is not None and level.graphile > GRAPHILE_LEVEL:
        _warn_of_newer_level(schema, level.graphile)


def refusal(level: Level, schema: str) -> ConfigurationError | None:
    """Return why a schema can neither be used nor migrated, or None when it can."""
    if level.server < OLDEST_SERVER * 10000:
        return ConfigurationError(
            f"PostgreSQL {level.server // 10000} is too old: upgrade the server to "
            f"{OLDEST_SERVER} or newer"
        )
    if alien := _alien_table(level):
        return SchemaForeign(
            f'schema "{schema}" has a table "{alien}" that neither KongTask nor Graphile Worker '
            "made: choose another schema with -s"
        )
    if is_of_go_kongtask(level):
        return SchemaForeign(
            f'schema "{schema}" was made by KongTask for Go, whose tables (its migration '
            f"{GO_LEVEL}) are others: stop its workers, then move its jobs with "
            f"`kongtask migrate --from-kongtask-go -s {shlex.quote(schema)}`"
        )
    return _wrong_level(level, schema)


def missing_right(level: Level, schema: str, action: str) -> DatabaseRefused:
    """Return the error that tells a role which right it lacks and who can give it."""
    return DatabaseRefused(
        f'role "{level.role}" may not {action} schema "{schema}": {_remedy(level, schema)}',
        reason="PermissionDenied",
    )


def _remedy(level: Level, schema: str) -> str:
    role, name = quote_schema(level.role), quote_schema(schema)
    if level.owner is None:
        return (
            f'let an owner of database "{level.database}" run '
            f"`create schema {name} authorization {role}`"
        )
    if level.relations & TABLES:
        return (
            f'connect as the owner of its tables, usually "{level.owner}", the owner of the schema'
        )
    return f'let "{level.owner}" run `grant usage, create on schema {name} to {role}`'


async def _numbers(connection: Any, schema: str, seen: Level) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if seen.columns >= _VERSION_COLUMNS:
        query = statement("level_graphile", schema)
        found |= dict(await connection.fetchrow(query, list(BREAKING_LEVELS)))
    if "_kongtask_migrations" in seen.relations:
        found |= dict(await connection.fetchrow(statement("level_additions", schema)))
    return found


def _alien_table(level: Level) -> str | None:
    if "migrations" in level.relations and not level.columns >= _VERSION_COLUMNS:
        return "migrations"
    taken = sorted(level.relations & TABLES)
    return taken[0] if level.graphile is None and taken else None


def is_of_go_kongtask(level: Level) -> bool:
    """Whether the tables are those of KongTask for Go."""
    return (
        level.graphile == GO_LEVEL
        and "jobs" in level.relations
        and not {"tasks", "_private_tasks"} & level.relations
    )


def _wrong_level(level: Level, schema: str) -> ConfigurationError | None:
    reached, breaking = level.graphile, level.breaking or 0
    if reached is None:
        return None
    if breaking > GRAPHILE_LEVEL:
        return SchemaTooNew(
            f'schema "{schema}" is at level {reached} of Graphile Worker, which includes the '
            f"breaking level {breaking}; this version of KongTask knows levels up to "
            f"{GRAPHILE_LEVEL}: upgrade KongTask"
        )
    if reached < FIRST_LEVEL:
        name = shlex.quote(schema)
        return SchemaForeign(
            f'schema "{schema}" is at level {reached} of Graphile Worker, KongTask takes over from '
            f"level {FIRST_LEVEL}: stop its workers, run `npx graphile-worker@0.18.0 --schema-only "
            f"--schema {name}` once, then `kongtask migrate -s {name}`"
        )
    if "_private_jobs" not in level.relations:
        return SchemaForeign(
            f'schema "{schema}" says it is at level {reached} of Graphile Worker, but has no table '
            '"_private_jobs": restore it from a backup, or choose another schema with -s'
        )
    return None


def _waiting(level: Level) -> str:
    if level.owner is None:
        return "does not exist"
    if level.graphile is None:
        return "holds no job tables"
    if level.graphile < GRAPHILE_LEVEL:
        return f"is at level {level.graphile}, this version works on level {GRAPHILE_LEVEL}"
    if level.additions < len(ADDITIONS):
        return f"lacks {len(ADDITIONS) - level.additions} of KongTask's {len(ADDITIONS)} additions"
    return ""


@cache
def _warn_of_newer_level(schema: str, reached: int) -> None:
    StandardLogger().warn(
        f'schema "{schema}" is at level {reached} of Graphile Worker, this version of KongTask '
        f"knows levels up to {GRAPHILE_LEVEL}: it goes on, because the newer ones are not breaking"
    )

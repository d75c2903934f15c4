"""Words for tests of migrations: schemas at any level, and a clock that does not wait."""

from __future__ import annotations

import asyncio
from typing import Any

from kongtask.clock import Clock
from kongtask.postgres.level import ADDITIONS, BREAKING_LEVELS, FIRST_LEVEL
from kongtask.postgres.statements import DEFAULT_SCHEMA, quote_schema, sql_folder


class HastyClock(Clock):
    """A clock that does not wait, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.naps = 0

    async def sleep(self, seconds: float) -> None:
        self.naps += 1
        await asyncio.sleep(0)


async def run_script(connection: Any, name: str, schema: str = DEFAULT_SCHEMA) -> None:
    """Run one file of sql/migrations."""
    text = (sql_folder() / "migrations" / f"{name}.sql").read_text(encoding="utf-8")
    await connection.execute(text.replace("{schema}", quote_schema(schema)))


async def make_level(
    connection: Any, level: int, additions: int = 0, schema: str = DEFAULT_SCHEMA
) -> None:
    """Make a schema as far as a level, with so many of KongTask's additions."""
    await run_script(connection, "foundation/schema", schema)
    await run_script(connection, "foundation/migrations", schema)
    for number in range(FIRST_LEVEL, level + 1):
        await run_script(connection, f"{number:06}", schema)
    await record(connection, level, schema)
    if additions:
        await run_script(connection, "foundation/kongtask_migrations", schema)
    for number in range(1, additions + 1):
        await run_script(connection, f"kongtask/{ADDITIONS[number - 1]}", schema)
        await connection.execute(
            f"insert into {quote_schema(schema)}._kongtask_migrations (id) values ({number})"
        )


async def record(connection: Any, level: int, schema: str = DEFAULT_SCHEMA) -> None:
    """Record all levels up to one that are not recorded yet."""
    await connection.execute(
        f"insert into {quote_schema(schema)}.migrations (id, breaking) "
        "select id, id = any ($1::int[]) from generate_series(1, $2::int) as id "
        "on conflict do nothing",
        list(BREAKING_LEVELS),
        level,
    )

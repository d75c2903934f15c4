"""Schedulers that take identifiers in another order are never waited for in a circle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from waiting import SOMEBODY_WAITS, until

from kongtask.core.cron.crontab import parse_crontab
from kongtask.core.cron.schedule import Tick
from kongtask.postgres.crontabs import CrontabStore
from kongtask.postgres.statements import DEFAULT_SCHEMA

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
TICK = Tick(timestamp=NOON, items=parse_crontab("* * * * * a\n* * * * * b\n* * * * * c"))
KNOWN = f"{DEFAULT_SCHEMA}._private_known_crontabs"
WIN = f"update {KNOWN} set last_execution = $2 where identifier = $1 and last_execution is null"


@pytest.fixture
async def store(pool: asyncpg.Pool[Any]) -> CrontabStore:
    store = CrontabStore(pool, DEFAULT_SCHEMA)
    await store.register(["a", "b", "c"], NOON - timedelta(days=1))
    return store


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def jobs(pool: asyncpg.Pool[Any]) -> list[str]:
    rows = await pool.fetch(f"select task_identifier from {DEFAULT_SCHEMA}.jobs order by id")
    return [row["task_identifier"] for row in rows]


async def test_what_is_free_is_added_while_another_decides_on_the_rest(
    store: CrontabStore, pool: asyncpg.Pool[Any], other: asyncpg.Connection[Any]
) -> None:
    async def is_waited_for() -> bool:
        return bool(await pool.fetchval(SOMEBODY_WAITS))

    deciding = other.transaction()
    await deciding.start()
    assert await other.execute(WIN, "c", NOON) == "UPDATE 1"
    enqueuing = asyncio.create_task(store.enqueue(TICK))
    await until(is_waited_for)
    assert await jobs(pool) == ["a", "b"]
    # The other scheduler goes on to what was taken here: a circle, were it still held.
    assert await asyncio.wait_for(other.execute(WIN, "a", NOON), 10) == "UPDATE 0"
    await deciding.commit()
    assert await enqueuing == ("a", "b")
    assert await jobs(pool) == ["a", "b"]


async def test_what_another_gave_up_is_added(
    store: CrontabStore, pool: asyncpg.Pool[Any], other: asyncpg.Connection[Any]
) -> None:
    async def is_waited_for() -> bool:
        return bool(await pool.fetchval(SOMEBODY_WAITS))

    deciding = other.transaction()
    await deciding.start()
    for identifier in ("c", "a"):
        await other.execute(WIN, identifier, NOON)
    enqueuing = asyncio.create_task(store.enqueue(TICK))
    await until(is_waited_for)
    await deciding.rollback()
    assert await enqueuing == ("a", "b", "c")
    assert sorted(await jobs(pool)) == ["a", "b", "c"]

"""Schedulers of Python and Node, one after the other: what is paused, and what is made up for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from cron_crowd import Crowd
from graphile import SCHEMA, Graphile
from waiting import until

from kongtask.postgres.crontabs import CrontabStore, cron_timestamp

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


@pytest.fixture
async def gather(
    pool: asyncpg.Pool[Any], database_url: str, node: Graphile
) -> AsyncIterator[Callable[[str, datetime], Crowd]]:
    crowds: list[Crowd] = []

    def gather(crontab: str, now: datetime) -> Crowd:
        crowds.append(Crowd(pool, database_url, node.node, crontab, now))
        return crowds[-1]

    yield gather
    for crowd in crowds:
        await crowd.leave()


async def added(pool: asyncpg.Pool[Any]) -> list[tuple[str, datetime, dict[str, Any]]]:
    rows = await pool.fetch(
        f"select task_identifier, jobs.run_at, rows.payload::text from {SCHEMA}.jobs "
        f"join {SCHEMA}._private_jobs as rows using (id) order by jobs.run_at, task_identifier"
    )
    return [(name, run_at, json.loads(payload)["_cron"]) for name, run_at, payload in rows]


@asynccontextmanager
async def node_alone(
    gather: Callable[[str, datetime], Crowd], crontab: str, now: datetime
) -> AsyncIterator[tuple[Crowd, Any]]:
    crowd = gather(crontab, now)
    process = await crowd.start_node(1)
    yield crowd, process.host
    assert process.host.heard("log") == []
    await crowd.leave()


async def test_node_keeps_to_a_pause_and_to_its_end(
    gather: Callable[[str, datetime], Crowd], pool: asyncpg.Pool[Any]
) -> None:
    store = CrontabStore(pool, SCHEMA)
    now = (await store.now()).replace(second=0, microsecond=0) - 20 * MINUTE
    crontab = "* * * * * halted ?fill=1h\n* * * * * other"

    async with node_alone(gather, crontab, now - SECOND) as (crowd, host):
        await crowd.move(now + SECOND)
        await until(lambda: len(host.heard("cron:scheduled")) == 1)
        assert await store.pause("halted")
        assert not await store.pause("halted")
        await crowd.move(now + 5 * MINUTE + SECOND)
        await until(lambda: len(host.heard("cron:scheduled")) == 6)
        assert await names(pool) == {"halted": 1, "other": 6}

    async with node_alone(gather, crontab, now + 10 * MINUTE + SECOND) as (crowd, host):
        assert host.heard("cron:backfill") == []
        await crowd.move(now + 12 * MINUTE + SECOND)
        await until(lambda: len(host.heard("cron:scheduled")) == 2)
        assert await names(pool) == {"halted": 1, "other": 8}
        await crowd.start_python()
        assert await names(pool) == {"halted": 1, "other": 8}

        assert await store.resume("halted")
        assert not await store.resume("halted")
        resumed = (await store.known())["halted"].last_execution
        assert resumed is not None
        next_minute = resumed.replace(second=0, microsecond=0) + MINUTE
        await crowd.move(next_minute + SECOND)
        await until(lambda: len(host.heard("cron:scheduled")) >= 10)
        expected = [now, next_minute]
        assert [run_at for name, run_at, _ in await added(pool) if name == "halted"] == expected

    async with node_alone(gather, crontab, next_minute + 2 * SECOND) as (crowd, host):
        await crowd.move(next_minute + MINUTE + SECOND)
        await until(lambda: len(host.heard("cron:scheduled")) == 1)
        expected.append(next_minute + MINUTE)
        assert [run_at for name, run_at, _ in await added(pool) if name == "halted"] == expected


async def names(pool: asyncpg.Pool[Any]) -> Counter[str]:
    return Counter(name for name, _, _ in await added(pool))


async def test_what_one_side_left_the_other_makes_up_for(
    gather: Callable[[str, datetime], Crowd], pool: asyncpg.Pool[Any]
) -> None:
    crontab = "* * * * * filled ?fill=10m"
    crowd = gather(crontab, NOON - SECOND)
    await crowd.start_python()
    await crowd.move(NOON + SECOND)
    await crowd.leave()
    crowd.now = NOON + 3 * MINUTE + SECOND
    process = await crowd.start_node(1)
    assert len(process.host.heard("cron:backfill")) == 4
    await crowd.leave()
    crowd.now = NOON + 5 * MINUTE + SECOND
    await crowd.start_python()

    by_python, *rest = [cron for _, _, cron in await added(pool)]
    assert by_python == {"ts": "2026-03-04T12:00:00.000Z", "backfilled": False}
    assert rest == [
        {"ts": cron_timestamp(NOON + n * MINUTE), "backfilled": True} for n in range(1, 6)
    ]

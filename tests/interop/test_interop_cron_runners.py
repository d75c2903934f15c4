"""Schedulers of Python and Node beside each other: each firing is added once, paused ones never."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from cron_crowd import Crowd
from graphile import SCHEMA, Graphile
from waiting import until

from kongtask.core.cron import Tick, ticks_due
from kongtask.postgres.crontabs import CrontabStore, cron_timestamp

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
STEPS = 1000 if os.environ.get("KONGTASK_TEST_LONG") else 60
PYTHON, NODES, NODE_RUNNERS = 14, 2, 3
CRONTAB = """
* * * * *    every
*/3 * * * *  third  ?fill=1h&queue=q {a: 1}
7 12-14 * * *  seventh ?id=by_the_hour&priority=2
0 * * * *    hourly
"""

Start = Callable[[str, datetime], Any]


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


def firings(ticks: tuple[Tick, ...]) -> Counter[tuple[str, datetime]]:
    return Counter((item.task, tick.timestamp) for tick in ticks for item in tick.items)


async def churn(crowd: Crowd, chance: random.Random) -> None:
    """Let somebody die and somebody else begin, as long as one is left who was there before."""
    if chance.random() < 0.5 and len(crowd.python) > 2:
        await crowd.python.pop(chance.randrange(len(crowd.python))).die()
    while len(crowd.python) < PYTHON and chance.random() < 0.6:
        await crowd.start_python(chance.uniform(-600, 600) * SECOND)
    process = chance.choice(crowd.processes)
    if chance.random() < 0.3:
        await crowd.stop_node_runner(process, chance.choice(process.runners))
    while len(process.runners) < NODE_RUNNERS:
        await crowd.start_node_runner(process)
    if chance.random() < 0.05:
        crowd.complaints += process.host.heard("log")
        crowd.processes.remove(process)
        process.die()
        await crowd.start_node(NODE_RUNNERS)


async def test_each_firing_is_added_once_by_a_crowd_that_comes_and_goes(
    gather: Callable[[str, datetime], Crowd],
    pool: asyncpg.Pool[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    start, chance = NOON - 7 * MINUTE - SECOND, random.Random(4)
    crowd = gather(CRONTAB, start)
    for _ in range(PYTHON):
        await crowd.start_python(chance.uniform(-600, 600) * SECOND)
    for _ in range(NODES):
        await crowd.start_node(NODE_RUNNERS)

    for _ in range(STEPS):
        step = chance.choice([5, 20, 40, 60, 60, 90, 240])
        await crowd.move(crowd.now + step * chance.uniform(0.5, 1) * SECOND, chance)
        expected = firings(await due(crowd, start))
        await until(lambda: has_added(crowd, expected.total()))  # noqa: B023
        await churn(crowd, chance)
    await crowd.leave()

    assert (crowd.complaints, caplog.messages) == ([], [])
    expected = firings(await due(crowd, start))
    jobs = await added(pool)
    assert Counter((task, run_at) for task, run_at, _ in jobs) == expected
    for _, run_at, cron in jobs:
        assert cron.pop("late", True) is True
        assert cron == {"ts": cron_timestamp(run_at), "backfilled": False}


async def due(crowd: Crowd, start: datetime) -> tuple[Tick, ...]:
    days = [start + n * HOUR for n in range(int((crowd.now - start) / HOUR) + 1)] + [crowd.now]
    return tuple(
        tick for since, end in pairwise(days)
        for tick in ticks_due(crowd.items, since, end)
    )  # fmt: skip


async def has_added(crowd: Crowd, count: int) -> bool:
    found = await crowd.jobs()
    assert found <= count, f"{found} jobs instead of {count}"
    return found == count


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

"""Processes of Python and Node that add recurring jobs and are killed: each is added once."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from signal import SIGKILL

import asyncpg
import pytest
from cli_process import LOST
from cron_processes import CronProcesses, Runner, Setting
from durable_server import DATABASE, DurableServer
from fault_words import IS_LONG
from graphile import Graphile
from waiting import until

from kongtask.core.cron.crontab import parse_crontab
from kongtask.core.cron.schedule import ticks_due
from kongtask.postgres.crontabs import cron_timestamp

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
START = NOON - timedelta(minutes=7, seconds=1)
STEPS = 400 if IS_LONG else 30
SIZE = {"Python": 14, "Node": 6} if IS_LONG else {"Python": 5, "Node": 2}
LEAST = {"Python": 300, "Node": 60} if IS_LONG else {"Python": 10, "Node": 1}
"""How many have to be killed for it to mean something."""

MANY = [f"every_{number}" for number in range(10)]
CRONTAB = """
* * * * *    every
*/3 * * * *  third  ?fill=1h&queue=q {a: 1}
7 12-14 * * *  seventh ?id=by_the_hour&priority=2
0 * * * *    hourly
""" + "\n".join(f"* * * * * {task}" for task in MANY)
FOUND = """select task_identifier, jobs.run_at, rows.payload::text
    from graphile_worker.jobs join graphile_worker._private_jobs as rows using (id)"""


@pytest.fixture
async def crowd(
    new_server: Callable[[], DurableServer], node: Graphile, tmp_path: Path
) -> AsyncIterator[CronProcesses]:
    """The crowd, of which nobody has started."""
    server = new_server()
    server.start(max_connections="200")
    setting = Setting(tmp_path, server.url(DATABASE), node.node, CRONTAB)
    async with asyncpg.create_pool(setting.url, min_size=5) as pool:
        crowd = CronProcesses(setting, pool, random.Random(4), START, SIZE)
        yield crowd
        crowd.destroy()


def firings(now: datetime) -> Counter[tuple[str, datetime]]:
    """What has to be added until now."""
    hours = int((now - START) / timedelta(hours=1)) + 1
    moments = [*(START + n * timedelta(hours=1) for n in range(hours)), now]
    ticks = (
        tick for since, end in pairwise(moments)
        for tick in ticks_due(parse_crontab(CRONTAB), since, end)
    )  # fmt: skip
    return Counter((item.task, tick.timestamp) for tick in ticks for item in tick.items)


def doomed(crowd: CronProcesses) -> list[Runner]:
    """Who is killed next: often nobody, mostly a few, and now and then all but one."""
    survivor = crowd.chance.choice(crowd.waiting)
    others = [
        each for each in crowd.runners
        if each is not survivor and (each.is_waiting or each.kind == "Python")
    ]  # fmt: skip
    most = crowd.chance.choice([0, 0, 1, 1, 2, 3, len(others)])
    return crowd.chance.sample(others, min(most, len(others)))


async def test_each_firing_is_added_once_by_processes_that_come_and_are_killed(
    crowd: CronProcesses,
) -> None:
    crowd.fill()
    await until(lambda: len(crowd.waiting) == len(crowd.runners))
    for number in range(3 * STEPS):
        if number >= STEPS and has_killed_enough(crowd):
            break
        step = crowd.chance.choice([20, 40, 60, 60, 90, 240]) * crowd.chance.uniform(0.5, 1)
        now = crowd.now + timedelta(seconds=step)
        expected = firings(now).total()
        await crowd.move(now, doomed(crowd), expected)
        await until(lambda: has_added(crowd, expected))  # noqa: B023
        crowd.fill()
    await crowd.leave()
    jobs = await crowd.pool.fetch(FOUND)

    print(
        f"{len(jobs)} jobs of {crowd.now - START}; started {dict(crowd.started)}, "
        f"killed {dict(crowd.killed)}, {crowd.killed_amid} of them while jobs were missing"
    )
    assert Counter((row["task_identifier"], row["run_at"]) for row in jobs) == firings(crowd.now)
    for row in jobs:
        cron = json.loads(row["payload"])["_cron"]
        assert cron["ts"] == cron_timestamp(row["run_at"])
        assert not cron["backfilled"] or row["task_identifier"] == "third"
    assert crowd.complaints == []
    assert {code for _, code in crowd.killed} <= {-SIGKILL, LOST}
    assert has_killed_enough(crowd)


def has_killed_enough(crowd: CronProcesses) -> bool:
    """Whether as many were killed as mean something, some while jobs were missing."""
    killed = Counter(kind for kind, _ in crowd.killed.elements())
    return crowd.killed_amid > 0 and all(killed[kind] >= LEAST[kind] for kind in SIZE)


async def has_added(crowd: CronProcesses, count: int) -> bool:
    """Whether all jobs are there; fails when there are more."""
    found = await crowd.jobs()
    assert found <= count, f"{found} jobs instead of {count}"
    return found == count

"""Ten minutes of both sides on one schema, with processes that die all the time.

Three processes of Node and three of Python run the same task. Every few seconds one of them gets
SIGKILL or SIGTERM and is started anew. In the end each job was done, none was run twice unless a
process was killed while it ran, queues never ran two at once, and nothing is locked. A process of
Node that is told to end counts as killed: now and then it leaves a job that it has done locked.

KONGTASK_SOAK_JOBS, KONGTASK_SOAK_SECONDS and KONGTASK_SOAK_SEED change how much, how long and in
which order. What Node's killed pools hold is unlocked by hand, as its documentation says: it has no
heartbeat. What Python's hold, the others find by themselves.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import asyncpg
import pytest
from graphile import FOLDER, SCHEMA, Graphile
from hosting import Host
from waiting import until
from work_task import RUNS

from kongtask import JobKeyMode, TaskSpec, WorkerUtils

JOBS = int(os.environ.get("KONGTASK_SOAK_JOBS", "100000"))
SECONDS = float(os.environ.get("KONGTASK_SOAK_SECONDS", "600"))
SEED = int(os.environ.get("KONGTASK_SOAK_SEED", "0")) or random.randrange(1, 2**31)
EACH_SIDE = 3
CONCURRENCY = 10
CHUNK = 1000
KEYS = 500
QUEUES = 20
BETWEEN_DEATHS = (2.0, 6.0)
ENDING = 60.0

Side = Literal["node", "python"]


@dataclass
class Story:
    """What was done to the workers."""

    killed: list[str] = field(default_factory=list)
    ended: list[tuple[str, int]] = field(default_factory=list)
    dead_node_pools: dict[str, str] = field(default_factory=dict)
    left_locked: dict[str, int] = field(default_factory=dict)


class Workers:
    """Six processes, and what happens to them."""

    def __init__(self, node: str, url: str, logs: Path) -> None:
        self._node, self._url, self._logs = node, url, logs
        self._started = 0
        self._pool_ids: dict[str, str] = {}
        self.living: list[tuple[Side, str, Host | subprocess.Popen[bytes]]] = []
        self.story = Story()

    async def start(self, side: Side) -> None:
        self._started += 1
        name = f"{side}-{self._started}"
        process: Host | subprocess.Popen[bytes]
        process = await self._start_node(name) if side == "node" else self._start_python(name)
        self.living.append((side, name, process))

    async def _start_node(self, name: str) -> Host:
        host = Host(self._node, name=name)
        self._pool_ids[name] = await host.call(
            "start", pool=name, url=self._url, batched=True,
            options={"concurrency": CONCURRENCY, "noHandleSignals": False},
        )  # fmt: skip
        return host

    def _start_python(self, name: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ, "PROCESS_NAME": name, "KONGTASK_WORKER_NAME": name,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }  # fmt: skip
        with (self._logs / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [
                    sys.executable, "-m", "kongtask", "worker", "-c", self._url,
                    "-t", "work_task.py", "-j", str(CONCURRENCY), "--no-migrate",
                ],
                cwd=FOLDER, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    async def strike(self, chance: random.Random, pool: asyncpg.Pool[Any]) -> None:
        """Kill or end one process and start another in its place."""
        kill = chance.random() < 0.5
        side, name = await self._end(chance.randrange(len(self.living)), kill=kill)
        if kill or side == "node":  # Node can leave jobs locked when it is told to end, too
            await pool.execute("insert into kills values ($1, clock_timestamp())", name)
        await self.start(side)

    async def end_all(self) -> None:
        while self.living:
            await self._end(0, kill=False)

    async def _end(self, at: int, *, kill: bool) -> tuple[Side, str]:
        side, name, worker = self.living.pop(at)
        process = worker.process if isinstance(worker, Host) else worker
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, ENDING)
        if isinstance(worker, Host):
            worker.end()
            self.story.dead_node_pools[self._pool_ids[name]] = name
        if kill:
            self.story.killed.append(name)
        else:
            self.story.ended.append((name, code))
        return side, name


@pytest.fixture
async def workers(node: Graphile, database_url: str, tmp_path: Path) -> AsyncIterator[Workers]:
    workers = Workers(node.node, database_url, tmp_path)
    yield workers
    for _, _, worker in workers.living:
        process = worker.process if isinstance(worker, Host) else worker
        process.kill()
        process.wait()


def wanted(number: int, chance: random.Random) -> tuple[str, object, TaskSpec | None]:
    """A job of some kind: plain, prioritised, keyed, queued or failing once."""
    payload: dict[str, object] = {"number": number}
    kind = chance.choices(
        ("plain", "prioritised", "keyed", "queued", "failing"), (60, 20, 8, 5, 7)
    )[0]
    match kind:
        case "prioritised":
            return "work", payload, TaskSpec(priority=chance.randint(-100, 100))
        case "keyed":
            payload["key"] = key = f"key {chance.randrange(KEYS)}"
            mode: JobKeyMode = chance.choice(("replace", "preserve_run_at"))
            return "work", payload, TaskSpec(job_key=key, job_key_mode=mode)
        case "queued":
            payload["queue"] = queue = f"queue {chance.randrange(QUEUES)}"
            return "work", payload, TaskSpec(queue_name=queue)
        case "failing":
            return "work", payload | {"fail_once": True}, None
        case _:
            return "work", payload, None


async def add_all(pool: asyncpg.Pool[Any], chance: random.Random) -> dict[str, int]:
    """Add the jobs over the first half of the time; return the last number of each key."""
    utils = WorkerUtils(pool)
    latest: dict[str, int] = {}
    pause = SECONDS / 2 / (JOBS / CHUNK)
    for first in range(0, JOBS, CHUNK):
        began = time.monotonic()
        jobs = [wanted(number, chance) for number in range(first, min(first + CHUNK, JOBS))]
        once = {
            job[2].job_key: number
            for number, job in enumerate(jobs)
            if job[2] is not None and job[2].job_key is not None
        }
        # A key may stand once in a call: the later one is what an application would have meant.
        kept = [
            job for number, job in enumerate(jobs)
            if job[2] is None or job[2].job_key is None or once[job[2].job_key] == number
        ]  # fmt: skip
        await utils.add_jobs(kept, return_jobs=False)
        await pool.executemany(
            "insert into wanted (number, key) values ($1, $2)",
            [(job[1]["number"], job[1].get("key")) for job in kept],  # type: ignore[index, attr-defined]
        )
        latest |= {key: first + number for key, number in once.items()}
        await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))
    return latest


async def strike_on(
    workers: Workers, pool: asyncpg.Pool[Any], chance: random.Random, over: asyncio.Event
) -> None:
    while not over.is_set():
        try:
            await asyncio.wait_for(over.wait(), chance.uniform(*BETWEEN_DEATHS))
        except TimeoutError:
            await workers.strike(chance, pool)


async def unlock_dead_node_pools(pool: asyncpg.Pool[Any], workers: Workers) -> None:
    """Do what Graphile Worker's documentation tells people to do; count what that found."""
    dead = list(workers.story.dead_node_pools)
    found = await pool.fetch(
        f"select locked_by, count(*) from {SCHEMA}._private_jobs where locked_by = any ($1) "
        "group by locked_by",
        dead,
    )
    for row in found:
        name = workers.story.dead_node_pools[row["locked_by"]]
        workers.story.left_locked[name] = row["count"]
    await WorkerUtils(pool).force_unlock_workers(dead)


async def unlock_on(pool: asyncpg.Pool[Any], workers: Workers) -> None:
    while True:
        await unlock_dead_node_pools(pool, workers)
        await asyncio.sleep(1)


LEFT = f"""
select count(*) from {SCHEMA}._private_jobs
where attempts < max_attempts or locked_at is not null
"""
LOCKED = f"""
select (select count(*) from {SCHEMA}._private_jobs where locked_at is not null)
    + (select count(*) from {SCHEMA}._private_job_queues where locked_at is not null)
"""
MISSING = """
select number from wanted
where not exists (select 1 from runs where (payload->>'number')::int = number)
    and (key is null or number = any ($1))
"""
TWICE = """
with undisturbed as (
    select * from runs
    where not exists (
        select 1 from kills
        where kills.process = runs.process and runs.started > kills.at - interval '5 seconds'
    )
)
select payload->>'number' as number, array_agg(process || '/' || attempts order by id) as runs
from undisturbed
group by payload->>'number'
having count(*) > 1 + count(*) filter (where payload ? 'fail_once' and attempts = 1)
order by 1
"""
"""More runs that no kill can have disturbed than one, and one more for an expected failure."""

BESIDE = """
select a.payload->>'queue' as queue, a.process as one, b.process as other
from runs as a join runs as b on a.payload->>'queue' = b.payload->>'queue' and a.id < b.id
where a.process <> all ($1) and b.started < a.ended
"""
STUCK = f"select payload::text, key, last_error from {SCHEMA}._private_jobs"


async def test_every_job_is_done_and_none_twice_while_processes_die(
    workers: Workers, pool: asyncpg.Pool[Any]
) -> None:
    began, chance, over = time.monotonic(), random.Random(SEED), asyncio.Event()
    print(f"seed {SEED}, {JOBS} jobs, {SECONDS:g} s")
    await pool.execute(RUNS)
    await pool.execute("create table wanted (number int primary key, key text)")
    await pool.execute("create table kills (process text, at timestamptz)")
    await pool.execute("create index on runs (((payload->>'number')::int))")
    for side in ("node", "python"):
        for _ in range(EACH_SIDE):
            await workers.start(side)

    unlocking = asyncio.create_task(unlock_on(pool, workers))
    striking = asyncio.create_task(strike_on(workers, pool, random.Random(SEED + 1), over))
    latest = await add_all(pool, chance)
    added = time.monotonic() - began

    async def is_all_done() -> bool:
        await asyncio.sleep(0.2)
        return bool(await pool.fetchval(LEFT) == 0)

    try:
        await until(is_all_done, SECONDS - added)
    except AssertionError:
        print(f"{await pool.fetchval(LEFT)} jobs left after {SECONDS:g} s")
        raise
    finally:
        over.set()
        await striking
        print(await told(pool, workers, time.monotonic() - began, added))
    await workers.end_all()
    unlocking.cancel()
    await unlock_dead_node_pools(pool, workers)

    killed = workers.story.killed
    assert await pool.fetchval(LOCKED) == 0
    assert await pool.fetch(MISSING, list(latest.values())) == []
    assert [tuple(row) for row in await pool.fetch(TWICE)] == []
    assert await pool.fetch(BESIDE, killed) == []
    # A signal before Python has got to its handlers ends it at once, before it took a job.
    rough = [name for name, code in workers.story.ended if name.startswith("python") and code]
    assert await pool.fetch("select * from runs where process = any ($1)", rough) == []
    for row in await pool.fetch(STUCK):
        # Replaced while it ran in a process that was killed: there is no further attempt.
        assert '"key"' in row["payload"], tuple(row)
        assert row["key"] is None, tuple(row)


async def told(pool: asyncpg.Pool[Any], workers: Workers, seconds: float, added: float) -> str:
    story = workers.story
    runs = {row["side"]: row["count"] for row in await pool.fetch(
        "select side, count(*) from runs group by side")}  # fmt: skip
    again = await pool.fetchval(
        "select count(*) - count(distinct payload->>'number') from runs "
        "where not (payload ? 'fail_once' and attempts = 1)"
    )
    ended = [name for name, _ in story.ended]
    left = {
        "killed": sum(count for name, count in story.left_locked.items() if name in story.killed),
        "ended": sum(count for name, count in story.left_locked.items() if name in ended),
    }
    return (
        f"{JOBS} jobs added in {added:.0f} s and done in {seconds:.0f} s; runs {runs}, of them "
        f"{again} again after a kill; SIGKILL {len(story.killed)}, SIGTERM {len(ended)}; "
        f"jobs that Node left locked: {left}"
    )

"""What the tests of faults say often: jobs come, work resumes, nothing is lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncpg
from waiting import until
from worker_processes import Runs, WorkerProcess, now

from kongtask.postgres.enqueue import JobQueue

IS_LONG = bool(os.environ.get("KONGTASK_TEST_LONG"))
"""Whether there is time for the full form."""

RETURN = 5.0 if IS_LONG else 20.0
"""Seconds after the database's return within which work goes on: the promise of five is tested
where nothing else runs beside."""

LISTENING = """select count(*) from pg_stat_activity
    where query like 'LISTEN%' or query like '%transaction_read_only%'"""
LEFT = """select
    (select count(*) from graphile_worker._private_jobs) as jobs,
    (select count(*) from graphile_worker._private_jobs where locked_by is not null) as locked,
    (select count(*) from graphile_worker._private_job_queues where locked_by is not null)
        as queues,
    (select count(*) from graphile_worker._kongtask_pools) as pools"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection of the test's own."""
    connection = await asyncpg.connect(url, timeout=10, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()


async def execute(url: str, statement: str, *arguments: object) -> None:
    """Run a statement."""
    async with connected(url) as connection:
        await connection.execute(statement, *arguments)


async def add(
    url: str, numbers: Iterable[int], task: str = "work",
    more: Mapping[str, object] = MappingProxyType({}),
) -> None:  # fmt: skip
    """Add a job for each number, with `more` in its payload."""
    async with connected(url) as connection:
        jobs = [(task, {"n": number, **more}, None) for number in numbers]
        await JobQueue(connection, "graphile_worker").add_jobs(jobs, return_jobs=False)


async def value(url: str, query: str, *arguments: object) -> Any:
    """The one value of a query."""
    async with connected(url) as connection:
        return await connection.fetchval(query, *arguments)


async def left(url: str) -> dict[str, int]:
    """What is left in the tables."""
    async with connected(url) as connection:
        found = await connection.fetchrow(LEFT)
        assert found is not None
        return dict(found)


async def working(workers: Sequence[WorkerProcess]) -> None:
    """Return when all of them have begun."""
    await until(lambda: all(each.is_working for each in workers))


async def ready(workers: Sequence[WorkerProcess], *, is_ready: bool = True) -> None:
    """Return when all of them say that they are ready, or all that they are not."""
    status = 200 if is_ready else 503
    await until(lambda: all(each.probe("/readyz")[0] == status for each in workers))


async def resumed(runs: Runs, workers: Sequence[WorkerProcess], since: float) -> None:
    """Return when each of them has begun a run; fails when one does not in time."""
    pids = {each.pid for each in workers}
    patience = RETURN - (now() - since)
    await until(lambda: runs.started_after(since) >= pids, patience)
    print(f"all work {now() - since:.1f} s after the database's return")


async def listening(url: str, count: int, since: float) -> None:
    """Return when so many connections listen; fails when they do not in time."""
    patience = RETURN - (now() - since)
    async with connected(url) as connection:

        async def found() -> bool:
            return bool(await connection.fetchval(LISTENING) >= count)

        await until(found, patience)
    print(f"all listen {now() - since:.1f} s after the database's return")


async def all_done(url: str, runs: Runs, numbers: Iterable[int]) -> None:
    """Return when the jobs have run and the database knows."""
    wanted = set(numbers)
    await until(lambda: runs.ended() >= wanted, 60)

    async def gone() -> bool:
        return bool((await left(url))["jobs"] == 0)

    await until(gone, 60)


async def end_well(url: str, workers: Sequence[WorkerProcess], killed: int = 0) -> None:
    """End them; nothing may be left behind but the last heartbeats of those that were killed."""
    codes = await asyncio.gather(*(asyncio.to_thread(each.end) for each in workers))
    assert codes == [0] * len(workers)
    found = await left(url)
    assert found.pop("pools") <= killed
    assert set(found.values()) == {0}, found


async def kill_backends(url: str) -> int:
    """End every connection of the database but this one, and return how many there were."""
    async with connected(url) as connection:
        return len(
            await connection.fetch(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
        )


def let_go(folder: Path, number: int) -> None:
    """Let the job that `hold` runs end."""
    (folder / f"go-{number}").touch()


def outages(worker: WorkerProcess) -> list[str]:
    """What it said of outages: one line at the beginning of each and one at its end."""
    return [
        line["message"]
        for line in worker.log
        if line["level"] in ("warning", "error") or "answers again" in line["message"]
    ]


async def told(workers: Sequence[WorkerProcess], times: int | None = 1) -> None:
    """Each told of so many outages, None for some, with a line at the beginning and the end."""
    await ready(workers)
    for each in workers:
        said = outages(each)
        begins = ["answers again" not in line for line in said]
        wanted = [True, False] * (len(said) // 2 if times is None else times)
        assert begins == wanted, "\n".join(said)

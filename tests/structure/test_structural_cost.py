"""What jobs cost in things that can be counted: statements, transactions, WAL, memory, calls.

Each bound stands beside its reason, near what was counted when it was written: one more statement
for each job breaks it. Where a rate is bounded, so many a second, the seconds are counted too, so
that a busy machine changes nothing.
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import asyncpg
import pytest
from counting import LEFT, TASKS, Counted, add, blocks, options, told
from waiting import until

from kongtask import TaskSpec, WorkerUtils, run_task_list, run_task_list_once
from kongtask.postgres.statements import statement
from kongtask.worker import crew
from kongtask.worker.recorder import GATHERING

FEW = 2_000
MANY = 20_000
FETCH = statement("fetch_jobs", "graphile_worker")
COMPLETE = statement("complete_unqueued_jobs", "graphile_worker")


@pytest.fixture(autouse=True)
def turns_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns of the event loop end after so many jobs, and not earlier on a slow machine."""
    monkeypatch.setattr(crew, "LONGEST_TURN", math.inf)


@pytest.mark.parametrize(
    "concurrency, most",
    [
        # One fetch and one completion for each, as nothing is locked ahead of its turn.
        pytest.param(1, 2.05, id="one at a time"),
        # A fetch fills all workers and a completion empties them: 0.2, and 0.1 for uneven ends.
        pytest.param(10, 0.3, id="ten at a time"),
        # The same: 0.02, and 0.02 to begin and to end; a statement for every tenth job breaks it.
        pytest.param(100, 0.07, id="a hundred at a time"),
    ],
)
async def test_running_a_job_takes_few_statements(
    counted: Counted, concurrency: int, most: float
) -> None:
    async with counted.pool() as pool:
        await add(pool, FEW)
    before = await counted.transactions()
    counted.statements.clear()
    async with counted.pool() as pool:
        await run_task_list_once(TASKS, pool, options(concurrency))
    transactions = await counted.transactions() - before
    assert await counted.value(LEFT) == 0
    told(statements=len(counted.statements) / FEW, transactions=transactions / FEW)
    assert len(counted.statements) / FEW <= most
    assert transactions / FEW <= most


@pytest.mark.parametrize("kind", ["of 50 named queues", "that fail"])
async def test_other_jobs_share_statements_as_well(counted: Counted, kind: str) -> None:
    """A statement for each queue, or for each failure, breaks it."""

    async def fail(_payload: Any, _helpers: Any) -> None:
        raise ValueError("no")

    queues = [TaskSpec(queue_name=f"queue {n}") for n in range(50)]
    specs = [("nothing", None, queues[n % 50]) for n in range(FEW)]
    async with counted.pool() as pool:
        if kind == "that fail":
            once = TaskSpec(max_attempts=1)  # others are due again before all have run, perhaps
            await WorkerUtils(pool).add_jobs([("fail", None, once)] * FEW, return_jobs=False)
        else:
            await WorkerUtils(pool).add_jobs(specs, return_jobs=False)
        counted.statements.clear()
        await run_task_list_once({**TASKS, "fail": fail}, pool, options(100))
    assert await counted.value(f"{LEFT} where attempts = 0") == 0
    told(statements=len(counted.statements) / FEW)
    assert len(counted.statements) / FEW <= 0.15


async def test_running_a_job_takes_few_calls(counted: Counted) -> None:
    """36; a row read whole takes 12 more, a task for each job 68, and all make objects."""
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    async with counted.pool() as pool:
        await add(pool, MANY)
        sys.setprofile(count)
        try:
            await run_task_list_once(TASKS, pool, options(100))
        finally:
            sys.setprofile(None)
    told(calls=calls / MANY)
    assert calls / MANY <= 40


async def test_jobs_that_come_one_by_one_share_the_writing_of_outcomes(counted: Counted) -> None:
    """However fast they come: between two writes there is time for further jobs to end."""
    async with (
        counted.pool() as pool,
        counted.pool() as adding,
        await run_task_list(TASKS, pool, options(10)),
    ):
        utils = WorkerUtils(adding)
        await utils.add_job("nothing")
        await until(lambda: counted.has(COMPLETE))
        counted.statements.clear()
        begun = time.monotonic()
        for _ in range(300):
            await utils.add_job("nothing")
        writes, seconds = counted.has(COMPLETE), time.monotonic() - begun
    told(writes=writes, seconds=seconds)
    assert 0 < writes <= seconds / GATHERING + 1


async def test_a_job_takes_few_bytes_of_wal(counted: Counted) -> None:
    """A row with its index entries, its lock (a new version beside it) and its deletion.

    A new version on another page, or another entry in an index, takes 60 bytes and more.
    """
    async with counted.pool() as pool:
        await add(pool, 1)
        await run_task_list_once(TASKS, pool, options())
        begun = await counted.wal()
        await add(pool, FEW)
        added = await counted.wal()
        await run_task_list_once(TASKS, pool, options(10))
        ended = await counted.wal()
    told(adding=(added - begun) / FEW, running=(ended - added) / FEW)
    assert (added - begun) / FEW <= 600  # 460, and the pages that each page of an index splits into
    assert (ended - added) / FEW <= 530  # 482


async def test_adding_ten_thousand_jobs_takes_few_statements(counted: Counted) -> None:
    """Chunks of a thousand, in one transaction, over a connection that is given back."""
    async with counted.pool() as pool:
        await add(pool, 10_000)
        await until(lambda: any("UNLISTEN" in each for each in counted.statements))
    told(statements=len(counted.statements))
    assert len(counted.statements) <= 13  # ten chunks, begin, commit, reset


async def test_adding_one_job_takes_one_statement(counted: Counted) -> None:
    async with counted.pool() as pool, pool.acquire() as connection:
        utils = WorkerUtils(connection)
        await utils.add_job("nothing")  # the first time, types of columns are looked up
        await until(lambda: counted.has("_job("))
        counted.statements.clear()
        await utils.add_job("nothing")
        await until(lambda: counted.has("_job("))
        assert len(counted.statements) == 1


async def test_an_idle_pool_sends_less_than_one_statement_a_second(counted: Counted) -> None:
    """A look each 2 s and three heartbeats each 10 s are 0.8; each is a transaction."""
    async with counted.pool() as pool, await run_task_list(TASKS, pool, options()):
        await until(lambda: counted.has("kongtask:cancel") and counted.has(FETCH))
        counted.statements.clear()
        await until(lambda: counted.has(FETCH))
        counted.statements.clear()
        begun = time.monotonic()
        await until(lambda: counted.has(FETCH) == 3)
        found, seconds = len(counted.statements), time.monotonic() - begun
    told(statements=found, seconds=seconds)
    assert found < seconds


async def test_jobs_that_ran_leave_nothing_in_memory(counted: Counted) -> None:
    """One object kept for each job would be 20,000 blocks; what is kept does not grow.

    Once or twice something may: asyncpg keeps the memory of up to 2,000 rows for later ones.
    """
    async with counted.pool() as pool, await run_task_list(TASKS, pool, options(10)):
        await run_through(counted, pool, MANY)  # now fetches are as large as they get
        kept = []
        for _ in range(3):
            before = blocks()
            await run_through(counted, pool, MANY)
            kept.append(blocks() - before)
    told(blocks=min(kept))
    assert min(kept) < MANY / 20


async def run_through(counted: Counted, pool: asyncpg.Pool[Any], count: int) -> None:
    """Add jobs to a pool that runs, and wait until none is left."""
    await add(pool, count)

    async def are_done() -> bool:
        return await counted.value(LEFT) == 0

    await until(are_done, 120)
    counted.statements.clear()

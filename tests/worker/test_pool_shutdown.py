"""Pools end: what runs is finished or given back, and nothing stays locked."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from datetime import timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import SOMEBODY_WAITS, until
from worker_words import (
    JOBS,
    POOLS,
    Heard,
    Lines,
    add,
    assert_nothing_left,
    count,
    locked,
    options,
    rows,
)

from kongtask import Helpers, ShutdownTimeout, TaskSpec, ThreadHelpers, WorkerUtils, run_task_list
from kongtask.worker import dispatcher
from kongtask.worker import pool as pool_module

Pool: TypeAlias = "asyncpg.Pool[Any]"
AT_ONCE = timedelta(0)


async def test_release_finishes_running_jobs_and_gives_waiting_ones_back_with_their_attempt(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "look_ahead", lambda _: 5)
    go = asyncio.Event()
    ran: list[int] = []

    async def hold(payload: int, helpers: Helpers) -> None:
        await go.wait()
        ran.append(payload)

    await add(pool, "hold", range(7))
    workers = await run_task_list({"hold": hold}, pool, options(concurrency=2))
    await until(lambda: workers.waiting == 5)
    releasing = asyncio.create_task(workers.release())
    await until(lambda: workers.is_stopping)
    go.set()
    await releasing

    assert ran == [0, 1]
    assert [row["attempts"] for row in await rows(pool)] == [0] * 5
    assert await locked(pool) == 0
    assert await pool.fetchval(f"select count(*) from {POOLS}") == 0


async def test_releasing_twice_and_at_once_is_fine(pool: Pool) -> None:
    workers = await run_task_list({"t": print}, pool, options())
    await asyncio.gather(workers.release(), workers.release(), workers.wait())
    await workers.release()
    workers.cut()
    assert workers.is_stopping
    assert not workers.is_alive
    await assert_nothing_left(pool)


async def test_a_pool_that_was_released_takes_no_more_jobs(pool: Pool) -> None:
    workers = await run_task_list({"t": print}, pool, options())
    await workers.release()
    await add(pool, "t", [1])
    assert await count(pool) == 1
    assert await locked(pool) == 0


@pytest.mark.parametrize("deaf", [False, True], ids=["cancelled", "swallows its cancellation"])
async def test_patience_that_ends_gives_running_coroutines_back(
    pool: Pool, deaf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "LAST_WORD", 0.2)
    started = asyncio.Event()
    never = asyncio.Event()

    async def hang(payload: object, helpers: Helpers) -> None:
        started.set()
        while not never.is_set():
            try:
                await never.wait()
            except asyncio.CancelledError:
                if not deaf:
                    raise

    heard = Heard()
    patient = options(drain_timeout=timedelta(seconds=0.1), events=heard.bus)
    await WorkerUtils(pool).add_job("hang", 1, TaskSpec(queue_name="line"))
    workers = await run_task_list({"hang": hang}, pool, patient)
    await started.wait()
    with pytest.raises(
        ShutdownTimeout, match=r"1 job was cut off and given back: hang \(job"
    ) as it:
        await workers.release()
    never.set()

    assert [job.payload for job in it.value.jobs] == [1]
    [left] = await rows(pool)
    assert (left["attempts"], left["last_error"]) == (0, None)
    assert await locked(pool) == 0
    [done] = heard.data("job:complete")
    assert (done.outcome.kind, done.worker_id != "") == ("released", True)
    assert heard.all[-1][0] == "pool:release"


async def test_patience_that_ends_gives_jobs_in_threads_back(pool: Pool) -> None:
    started, go = threading.Event(), threading.Event()
    refused: list[str] = []

    def hang(payload: object, helpers: ThreadHelpers) -> None:
        started.set()
        go.wait(20)

    await add(pool, "hang", [1])
    workers = await run_task_list({"hang": hang}, pool, options(drain_timeout=AT_ONCE))
    await until(started.is_set)
    with pytest.raises(ShutdownTimeout):
        await workers.release()
    go.set()
    [left] = await rows(pool)
    assert (left["attempts"], left["locked_by"], refused) == (0, None, [])


async def test_a_job_that_ends_within_patience_counts(pool: Pool) -> None:
    started = asyncio.Event()

    async def last_word(payload: object, helpers: Helpers) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await helpers.add_job("left_over")

    await add(pool, "last_word", [1])
    workers = await run_task_list({"last_word": last_word}, pool, options(drain_timeout=AT_ONCE))
    await started.wait()
    with pytest.raises(ShutdownTimeout):
        await workers.release()
    [left] = await rows(pool)
    assert left["attempts"] == 0
    assert await locked(pool) == 0


async def test_the_first_signal_drains_and_the_second_cuts(pool: Pool) -> None:
    started = asyncio.Event()

    async def hang(payload: object, helpers: Helpers) -> None:
        started.set()
        await asyncio.Event().wait()

    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    heard = Heard()
    await add(pool, "hang", [1])
    workers = await run_task_list(
        {"hang": hang}, pool, options(no_handle_signals=False, events=heard.bus)
    )
    await started.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: workers.is_stopping)
    assert [data.message for data in heard.data("stop")] == ["SIGTERM"]
    assert len(workers.running) == 1
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(ShutdownTimeout):
        await workers.wait()

    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before
    [left] = await rows(pool)
    assert (left["attempts"], left["locked_by"]) == (0, None)


@pytest.mark.parametrize("first_to_end", [0, 1], ids=["in order", "in reverse"])
async def test_every_pool_of_a_process_hears_a_signal(
    pool: Pool, database_url: str, first_to_end: int
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    signalled = options(no_handle_signals=False)
    both = [await run_task_list({"t": print}, database_url, signalled) for _ in range(2)]
    third = await run_task_list({"t": print}, database_url, signalled)
    await third.release()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(both[first_to_end].wait(), 30)
    await asyncio.wait_for(both[1 - first_to_end].wait(), 30)
    assert signal.getsignal(signal.SIGTERM) is before
    await assert_nothing_left(pool)


async def test_a_pool_that_ends_first_leaves_signals_to_the_other(
    pool: Pool, database_url: str
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    signalled = options(no_handle_signals=False)
    early = await run_task_list({"t": print}, database_url, signalled)
    late = await run_task_list({"t": print}, database_url, signalled)
    await early.release()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(late.wait(), 30)
    assert signal.getsignal(signal.SIGTERM) is before


async def test_outside_the_main_thread_signals_are_left_alone(
    pool: Pool, database_url: str
) -> None:
    async def briefly() -> None:
        async with await run_task_list(
            {"t": print}, database_url, options(no_handle_signals=False)
        ):
            pass

    await asyncio.to_thread(asyncio.run, briefly())
    await assert_nothing_left(pool)


async def test_a_signal_that_arrives_before_the_first_fetch_ends_the_pool_cleanly(
    pool: Pool,
) -> None:
    await add(pool, "t", [1])
    heard = Heard()
    heard.bus.on("pool:create", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    workers = await run_task_list(
        {"t": print}, pool, options(no_handle_signals=False, events=heard.bus)
    )
    await workers.wait()
    assert not heard.names("job", "worker:getJob")
    assert await locked(pool) == 0
    assert await pool.fetchval(f"select count(*) from {POOLS}") == 0


@pytest.mark.parametrize("task", ["hang", "sit"])
async def test_a_program_that_forgets_its_pool_ends_all_the_same(
    pool: Pool, database_url: str, task: str
) -> None:
    """asyncio.run cancels everything at once: the jobs are given back and nothing hangs."""
    started, go = threading.Event(), threading.Event()

    async def hang(payload: object, helpers: Helpers) -> None:
        started.set()
        await asyncio.Event().wait()

    def sit(payload: object, helpers: ThreadHelpers) -> None:
        started.set()
        go.wait(20)

    async def program() -> None:
        await run_task_list({"hang": hang, "sit": sit}, database_url, options(concurrency=2))
        await until(started.is_set)

    await add(pool, task, [1])
    await asyncio.wait_for(asyncio.to_thread(asyncio.run, program()), 20)
    go.set()
    [left] = await rows(pool)
    assert (left["attempts"], left["locked_by"]) == (0, None)
    assert await pool.fetchval(f"select count(*) from {POOLS}") == 0


async def test_a_fetch_that_hangs_does_not_keep_a_pool_from_ending(
    pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has locked the table: that is what a database looks like that hangs."""
    for module, name in ((dispatcher, "LAST_FETCH"), (pool_module, "LAST_WRITES")):
        monkeypatch.setattr(module, name, 0.3)
    lines = Lines()
    workers = await run_task_list(
        {"t": print}, database_url, options(logger=lines, poll_interval=timedelta(milliseconds=10))
    )
    async with pool.acquire() as connection:
        lock = connection.transaction()
        await lock.start()
        await connection.execute(f"lock table {JOBS} in access exclusive mode")
        await until(lambda: pool.fetchval(SOMEBODY_WAITS))
        await asyncio.wait_for(workers.release(), 30)
        await lock.rollback()
    assert lines.said("the heartbeat is left to run out")
    assert await locked(pool) == 0


@pytest.mark.parametrize("limit", [AT_ONCE, None], ids=["limited", "cut by a second signal"])
async def test_outcomes_that_cannot_be_written_do_not_keep_a_pool_for_ever(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, limit: timedelta | None
) -> None:
    monkeypatch.setattr(pool_module, "LAST_WRITES", 0.3)
    lines = Lines()
    await add(pool, "t", [1])
    await pool.execute(
        """create function refuse() returns trigger language plpgsql as $$
        begin raise exception 'no'; end $$;
        create trigger refuse before delete on graphile_worker._private_jobs
        for each row execute function refuse();"""
    )
    workers = await run_task_list(
        {"t": lambda *_: None}, pool, options(drain_timeout=limit, logger=lines)
    )
    await until(lambda: lines.said("was refused"))
    workers.stop("test")
    if limit is None:
        workers.cut()
    await asyncio.wait_for(workers.wait(), 30)
    assert lines.said("outcomes of 1 job could not be written")

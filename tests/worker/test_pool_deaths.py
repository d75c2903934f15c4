"""Processes die, hang and lose their database: jobs run again when they must, and only then."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until
from worker_words import JOBS, POOLS, Lines, add, assert_nothing_left, is_empty, options, rows

from kongtask import EventBus, Helpers, WorkerUtils, events, run_task_list
from kongtask.core.control import JobLost
from kongtask.worker import dispatcher

Pool: TypeAlias = "asyncpg.Pool[Any]"

PROGRAM = """
import asyncio, sys
from datetime import timedelta
import kongtask

async def hold(payload, helpers):
    print("holding", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("told", helpers.is_cancelled, flush=True)

async def main():
    options = kongtask.WorkerPoolOptions(
        concurrency=2, recovery_timeout=timedelta(seconds=1)
    )
    workers = await kongtask.run_task_list({"hold": hold}, sys.argv[1], options)
    await workers.wait()

asyncio.run(main())
"""


async def test_the_jobs_of_a_killed_process_run_again_elsewhere(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    ran: list[tuple[int, int]] = []

    async def hold(payload: int, helpers: Helpers) -> None:
        ran.append((payload, helpers.job.attempts))

    await add(pool, "hold", [1, 2])
    program = await asyncio.create_subprocess_exec(
        sys.executable, str(file), database_url, stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    for _ in range(2):
        assert await asyncio.wait_for(program.stdout.readline(), 20) == b"holding\n"
    async with await run_task_list({"hold": hold}, pool, options()):
        program.kill()
        await program.wait()
        await until(lambda: sorted(ran) == [(1, 2), (2, 2)])
        await until(lambda: is_empty(pool))


async def test_a_pool_whose_loop_is_blocked_keeps_its_jobs(pool: Pool, database_url: str) -> None:
    """Its heart beats in a thread of its own, whatever a handler does to the event loop."""
    blocking, go = threading.Event(), threading.Event()
    runs = 0

    async def block(payload: object, helpers: Helpers) -> None:
        nonlocal runs
        runs += 1
        blocking.set()
        go.wait(30)

    quick = options(recovery_timeout=timedelta(seconds=1))

    async def blocked_program() -> None:
        async with await run_task_list({"block": block}, database_url, quick):
            await until(go.is_set, 40)

    await add(pool, "block", [1])
    program = asyncio.create_task(asyncio.to_thread(asyncio.run, blocked_program()))
    await until(blocking.is_set)
    fast = options(poll_interval=timedelta(milliseconds=50), recovery_timeout=timedelta(seconds=1))
    async with await run_task_list({"block": block}, pool, fast) as observer:
        await until(lambda: beat_for(pool, timedelta(seconds=5)))
        assert observer.is_ready
        assert runs == 1
        [row] = await rows(pool)
        assert row["locked_by"] != observer.pool_id
        go.set()
        await program
    assert runs == 1
    await assert_nothing_left(pool)


async def beat_for(pool: Pool, time: timedelta) -> bool:
    """Whether each pool of workers has beaten for so long since it began."""
    found = await pool.fetchval(f"select min(heartbeat_at - started_at) from {POOLS}")
    return bool(found >= time)


async def test_a_stopped_process_loses_its_jobs_is_told_and_writes_nothing(
    pool: Pool, database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    ran: list[int] = []
    lines = Lines()

    async def hold(payload: int, helpers: Helpers) -> None:
        ran.append(helpers.job.attempts)
        await go.wait()

    go = asyncio.Event()
    await add(pool, "hold", [1])
    program = await asyncio.create_subprocess_exec(
        sys.executable, str(file), database_url, stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    assert await asyncio.wait_for(program.stdout.readline(), 20) == b"holding\n"
    program.send_signal(signal.SIGSTOP)
    mine = options(recovery_timeout=timedelta(seconds=1), logger=lines)
    async with await run_task_list({"hold": hold}, pool, mine) as observer:
        await until(lambda: ran == [2], 30)
        assert lines.said("it has not beaten for four times its recovery time")
        program.send_signal(signal.SIGCONT)
        assert await asyncio.wait_for(program.stdout.readline(), 20) == b"told True\n"
        [row] = await rows(pool)
        assert (row["locked_by"], row["attempts"]) == (observer.pool_id, 2)
        go.set()
        await until(lambda: is_empty(pool))
    program.terminate()
    assert await program.wait() == 0


async def test_a_job_that_was_unlocked_while_it_ran_never_runs_twice_at_once(pool: Pool) -> None:
    """The pool that still runs it is the one that gets it again."""
    log: list[str] = []
    bus = EventBus()
    bus.on(events.JOB_LOST, lambda data: log.append("lost"))
    bus.on(events.JOB_COMPLETE, lambda data: log.append(f"complete {data.lost}"))

    async def hold(payload: object, helpers: Helpers) -> None:
        log.append(f"begin {helpers.job.attempts}")
        try:
            if helpers.job.attempts == 1:
                await asyncio.Event().wait()
        finally:
            log.append(f"end {helpers.job.attempts}")

    await add(pool, "hold", [1])
    fast = options(poll_interval=timedelta(milliseconds=20), concurrency=2, events=bus)
    async with await run_task_list({"hold": hold}, pool, fast):
        await until(lambda: log == ["begin 1"])
        await pool.execute(f"update {JOBS} set locked_at = null, locked_by = null")
        await until(lambda: log[-1] == "complete False")
    assert log == ["begin 1", "lost", "end 1", "complete True", "begin 2", "end 2",
                   "complete False"]  # fmt: skip
    await assert_nothing_left(pool)


async def test_jobs_that_were_unlocked_while_they_waited_and_fetched_again_run_once(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "look_ahead", lambda _: 5)
    ran: list[tuple[int, int]] = []
    go = asyncio.Event()

    async def hold(payload: int, helpers: Helpers) -> None:
        ran.append((payload, helpers.job.attempts))
        await go.wait()

    async def are_fetched_again() -> bool:
        return [row["attempts"] for row in await rows(pool)] == [1, 2, 2]

    ids = await add(pool, "hold", range(3))
    fast = options(poll_interval=timedelta(milliseconds=20), concurrency=1)
    async with await run_task_list({"hold": hold}, pool, fast) as workers:
        await until(lambda: len(ran) == 1 and workers.waiting == 2)
        await pool.execute(
            f"update {JOBS} set locked_at = null, locked_by = null where id = any ($1)", ids[1:]
        )
        await until(are_fetched_again)
        go.set()
        await until(lambda: is_empty(pool))
        assert workers.waiting == 0
    assert ran == [(0, 1), (1, 2), (2, 2)]


async def test_a_heartbeat_tells_of_jobs_that_were_unlocked(pool: Pool) -> None:
    told: list[BaseException | None] = []
    began = asyncio.Event()
    lines, bus = Lines(), EventBus()
    bus.on(events.JOB_COMPLETE, lambda data: told.append(data.error))

    async def hold(payload: object, helpers: Helpers) -> None:
        began.set()
        await asyncio.Event().wait()

    [job] = await add(pool, "hold", [1])
    mine = options(recovery_timeout=timedelta(seconds=1), events=bus, logger=lines)
    async with await run_task_list({"hold": hold}, pool, mine) as workers:
        await began.wait()
        await WorkerUtils(pool).force_unlock_workers([workers.pool_id])
        await WorkerUtils(pool).permanently_fail_jobs([job], "by hand")
        await until(lambda: bool(told))
    assert isinstance(told[0], JobLost)
    assert lines.said(f"the lock of job {job} was lost while it ran")
    [row] = await rows(pool)
    assert row["last_error"] == "by hand"


async def test_after_all_sessions_were_lost_nobody_frees_the_jobs_of_the_living(
    pool: Pool, database_url: str
) -> None:
    go = asyncio.Event()
    runs = 0

    async def hold(payload: object, helpers: Helpers) -> None:
        nonlocal runs
        runs += 1
        await go.wait()

    name = database_url.rpartition("/")[2]
    await add(pool, "hold", range(4))
    fast = options(concurrency=2, poll_interval=timedelta(milliseconds=50))
    both = [await run_task_list({"hold": hold}, database_url, fast) for _ in range(2)]
    await until(lambda: runs == 4)
    third = await run_task_list({"hold": hold}, database_url, fast)
    maintenance = await asyncpg.connect(database_url.replace(name, "postgres"))
    await maintenance.execute(f"alter database {name} with allow_connections false")
    await maintenance.fetch(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name
    )
    await maintenance.fetch("select pg_sleep(2)")
    await maintenance.execute(f"alter database {name} with allow_connections true")
    back = await maintenance.fetchval("select now()")
    await maintenance.close()

    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as fresh:
        silent = f"select not exists (select from {POOLS} where heartbeat_at < $1)"
        await until(lambda: fresh.fetchval(silent, back))
    go.set()
    for each in (*both, third):
        await each.release()
    assert runs == 4
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as fresh:
        await assert_nothing_left(fresh)

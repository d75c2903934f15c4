"""Processes die, hang and lose their database: jobs run again when they must, and only then."""

from __future__ import annotations

import asyncio
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until
from worker_words import POOLS, add, assert_nothing_left, is_empty, options, rows

from kongtask import Helpers, run_task_list
from kongtask.worker import heart

Pool: TypeAlias = "asyncpg.Pool[Any]"

PROGRAM = """
import asyncio, sys
import kongtask

async def hold(payload, helpers):
    print("holding", flush=True)
    await asyncio.Event().wait()

async def main():
    options = kongtask.WorkerPoolOptions(concurrency=2)
    workers = await kongtask.run_task_list({"hold": hold}, sys.argv[1], options)
    await workers.wait()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def quick_hearts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hearts of this process beat five times a second and give others one second."""
    monkeypatch.setattr(heart, "BEAT_PERIOD", 0.2)
    monkeypatch.setattr(heart, "SILENCE", timedelta(seconds=1))


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
    """Its heart is silent for longer than a silence may last; its session stands."""
    blocking, go = threading.Event(), threading.Event()
    runs = 0

    async def block(payload: object, helpers: Helpers) -> None:
        nonlocal runs
        runs += 1
        blocking.set()
        go.wait(30)

    async def blocked_program() -> None:
        async with await run_task_list({"block": block}, database_url, options()):
            await until(go.is_set, 40)

    await add(pool, "block", [1])
    program = asyncio.create_task(asyncio.to_thread(asyncio.run, blocked_program()))
    await until(blocking.is_set)
    fast = options(poll_interval=timedelta(milliseconds=50))
    async with await run_task_list({"block": block}, pool, fast) as observer:

        async def is_long_silent() -> bool:
            return await silent_pools(pool, timedelta(seconds=3)) == 1

        await until(is_long_silent)
        assert observer.is_ready
        assert runs == 1
        [row] = await rows(pool)
        assert row["locked_by"] != observer.pool_id
        go.set()
        await program
    assert runs == 1
    await assert_nothing_left(pool)


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
    await maintenance.close()

    async def are_back() -> bool:
        async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as fresh:
            return await silent_pools(fresh, timedelta(seconds=1)) == 0

    await until(are_back)
    go.set()
    for each in (*both, third):
        await each.release()
    assert runs == 4
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as fresh:
        await assert_nothing_left(fresh)


async def silent_pools(pool: Pool, silence: timedelta) -> int:
    found = await pool.fetchval(
        f"select count(*) from {POOLS} where heartbeat_at < now() - $1::interval", silence
    )
    assert isinstance(found, int)
    return found

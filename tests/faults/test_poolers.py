"""PgBouncer stands before the server: polling alone works fully, and who must change what hears."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest
from durable_server import DurableServer
from fault_words import (
    IS_LONG,
    RETURN,
    add,
    all_done,
    connected,
    end_well,
    left,
    let_go,
    listening,
    ready,
    resumed,
    value,
    working,
)
from pooled_server import NEEDS_PGBOUNCER, pooler
from waiting import until
from worker_processes import HOUR, Runs, Start, now

from kongtask import (
    ConfigurationError,
    TaskSpec,
    WorkerPoolOptions,
    WorkerUtils,
    run_migrations,
    run_task_list,
)

pytestmark = NEEDS_PGBOUNCER

Pool: TypeAlias = "asyncpg.Pool[Any]"

JOBS = 2000
RECOVERY = 2
POLLING = ("--no-listen", "--poll-interval", "100", "--recovery-timeout", str(RECOVERY))
BACKEND = "select pg_backend_pid()"
SESSION_LOCKS = "select count(*) from pg_locks where locktype = 'advisory'"


async def test_polling_alone_works_through_transaction_mode(
    server: DurableServer, url: str, start: Start, runs: Runs
) -> None:
    """Four server sessions for two workers, which hold eight connections."""
    with pooler(server) as pooled:
        workers = [start(pooled, *POLLING) for _ in range(2)]
        await working(workers)
        await add(url, range(JOBS))
        await all_done(url, runs, range(JOBS))
        assert runs.repeated() == set()
        assert await value(url, SESSION_LOCKS) == 0
        for each in workers:
            assert each.said("warning", "error") == []
        await end_well(url, workers)


async def test_a_killed_worker_behind_a_pooler_is_found_dead(
    server: DurableServer, url: str, start: Start, runs: Runs, tmp_path: Path
) -> None:
    """The pooler keeps its server sessions: they must prove nothing."""
    with pooler(server) as pooled:
        first = start(pooled, *POLLING)
        await working([first])
        await add(url, range(5), "hold")
        await until(lambda: all(runs.of(number) == ["start"] for number in range(5)))
        second = start(pooled, *POLLING)
        await working([second])
        first.kill()
        for number in range(5):
            let_go(tmp_path, number)
        await until(lambda: runs.ended() == set(range(5)), RECOVERY * 3 if IS_LONG else 20)
        await all_done(url, runs, range(5))
        await end_well(url, [second], 1)


async def test_the_server_behind_the_pooler_restarts(
    server: DurableServer, url: str, start: Start, runs: Runs
) -> None:
    with pooler(server) as pooled:
        workers = [start(pooled, *POLLING) for _ in range(2)]
        await working(workers)
        await add(url, range(JOBS))
        await until(lambda: len(runs.ended()) > 100)
        await asyncio.to_thread(server.stop, "immediate")
        await ready(workers, is_ready=False)
        await asyncio.to_thread(server.start)
        await resumed(runs, workers, now())
        await all_done(url, runs, range(JOBS))
        assert runs.repeated() == set()
        await end_well(url, workers)


async def test_adding_and_looking_after_jobs_needs_no_switch(
    server: DurableServer, url: str
) -> None:
    with pooler(server, size=2) as pooled:
        all_utils = [await WorkerUtils.connect(pooled) for _ in range(4)]
        for utils in all_utils:
            await utils.migrate()
        await asyncio.gather(*(_administrate(utils) for utils in all_utils * 10))
        for utils in all_utils:
            await utils.release()
    assert (await left(url))["jobs"] == 0


async def _administrate(utils: WorkerUtils) -> None:
    jobs = await utils.add_jobs([("t", n, TaskSpec(queue_name="q")) for n in range(3)])
    single = await utils.add_job("t")
    assert await utils.list_jobs("waiting", 1)
    await utils.complete_jobs([single.id, *(job.id for job in jobs)])


async def test_the_command_line_works_through_the_pooler(
    server: DurableServer, tmp_path: Path, url: str
) -> None:
    with pooler(server, size=2) as pooled:
        for words in (["migrate"], ["add", "t", "1", "--force"], ["jobs", "--state", "waiting"]):
            command = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "kongtask", *words, "-c", pooled, cwd=tmp_path
            )
            assert await command.wait() == 0
    assert (await left(url))["jobs"] == 1


async def test_a_worker_that_would_listen_says_what_to_set_and_polls(
    server: DurableServer, url: str, start: Start, runs: Runs
) -> None:
    with pooler(server) as pooled:
        worker = start(pooled)
        await working([worker])
        await add(url, range(100))
        await all_done(url, runs, range(100))
        await until(lambda: worker.said("warning"), 30)
        [warning] = worker.said("warning", "error")
        assert "--no-listen" in warning
        assert await value(url, SESSION_LOCKS) == 0
        await end_well(url, [worker])


async def test_session_mode_needs_nothing(
    server: DurableServer, url: str, start: Start, runs: Runs
) -> None:
    with pooler(server, mode="session", size=10) as pooled:
        worker = start(pooled, "--poll-interval", HOUR)
        await working([worker])
        await listening(url, 1, now())
        await add(url, range(100))
        await until(lambda: runs.ended() == set(range(100)), RETURN)
        await end_well(url, [worker])


async def _start(pool: Pool) -> None:
    await run_task_list({"t": print}, pool, WorkerPoolOptions(listen=False))


async def _add(pool: Pool) -> None:
    async with pool.acquire() as connection:
        for _ in range(2):
            await WorkerUtils(pool).add_job("t", connection=connection)


async def _migrate(pool: Pool) -> None:
    await WorkerUtils(pool).migrate()


@pytest.mark.parametrize("use", [_start, _add, _migrate])
async def test_a_pool_of_the_users_own_that_prepares_statements_is_told_what_to_set(
    server: DurableServer, url: str, use: Callable[[Pool], Awaitable[None]]
) -> None:
    """Two sessions in turns: what is prepared in one is asked of the other."""
    async with connected(url) as connection:
        await run_migrations(connection)
    with pooler(server, size=2, in_turns=True) as pooled:
        await _open_both_sessions(pooled)
        async with asyncpg.create_pool(pooled, min_size=1) as pool:
            with pytest.raises(ConfigurationError) as told:
                await use(pool)
    assert "statement_cache_size=0" in str(told.value)
    assert "--no-listen" in str(told.value)


async def _open_both_sessions(pooled: str) -> None:
    async with (
        connected(pooled) as one, one.transaction(),
        connected(pooled) as other, other.transaction(),
    ):  # fmt: skip
        assert await one.fetchval(BACKEND) != await other.fetchval(BACKEND)

"""What jobs cost in things that can be counted: statements, transactions, WAL, memory, modules.

Nothing here is timed, so that a busy machine changes nothing. Each bound stands beside its reason,
near what was counted when it was written: one more statement for each job breaks it.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from busy_server import server_with
from postgres_server import run, temporary_database
from waiting import until

from kongtask import (
    WorkerPoolOptions,
    WorkerUtils,
    run_migrations,
    run_task_list,
    run_task_list_once,
)
from kongtask.clock import Clock
from kongtask.postgres.statements import statement
from kongtask.worker.recorder import GATHERING

FEW = 2_000
MANY = 20_000
LEFT = "select count(*) from graphile_worker._private_jobs"
FETCH = statement("fetch_jobs", "graphile_worker")
COMPLETE = statement("complete_jobs", "graphile_worker")


@pytest.fixture(scope="module")
def quiet_server() -> Iterator[str]:
    """A server that writes nothing but what is counted."""
    with server_with(max_wal_size="4GB", checkpoint_timeout="1h") as url:
        yield url


@pytest.fixture
def quiet_url(quiet_server: str) -> Iterator[str]:
    with temporary_database(quiet_server) as url:
        run(_migrate(url))
        yield url


async def _migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await run_migrations(connection)
    finally:
        await connection.close()


class Counted:
    """A pool of connections, all the statements that were sent over them, and its server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.statements: list[str] = []

    @asynccontextmanager
    async def pool(self) -> AsyncIterator[asyncpg.Pool[Any]]:
        # By `connect`: whoever opens connections of its own from the pool is counted too.
        async with asyncpg.create_pool(
            self._url, min_size=0, max_size=10, connect=self._connect
        ) as pool:
            yield pool

    async def _connect(self, *arguments: Any, **options: Any) -> Any:
        connection = await asyncpg.connect(*arguments, **options)
        connection.add_query_logger(self._note)
        return connection

    def _note(self, query: Any) -> None:
        self.statements.append(query.query)

    def has(self, words: str) -> int:
        """Return how many statements hold these words."""
        return sum(words in each for each in self.statements)

    async def value(self, query: str) -> int:
        """Ask over a connection that does not count."""
        connection = await asyncpg.connect(self._url)
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()

    async def wal(self) -> int:
        """Return the bytes of WAL written so far."""
        return await self.value("select pg_current_wal_insert_lsn() - '0/0'")

    async def transactions(self) -> int:
        """Return the transactions of all sessions that have ended; sessions tell at their end."""
        others = (
            "select count(*) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )

        async def are_alone() -> bool:
            return await self.value(others) == 0

        await until(are_alone)
        return await self.value(
            "select xact_commit + xact_rollback from pg_stat_database "
            "where datname = current_database()"
        )


@pytest.fixture
def counted(quiet_url: str) -> Counted:
    return Counted(quiet_url)


async def nothing(_payload: Any, _helpers: Any) -> None:
    pass


TASKS = {"nothing": nothing}


async def add(pool: asyncpg.Pool[Any], count: int) -> None:
    await WorkerUtils(pool).add_jobs([("nothing", {"n": 1}, None)] * count, return_jobs=False)


def options(concurrency: int = 1) -> WorkerPoolOptions:
    return WorkerPoolOptions(concurrency=concurrency, no_handle_signals=True, clock=Steady())


class Steady(Clock):
    """The machine's clock without chance."""

    def jitter(self, low: float = 0.5, high: float = 1.5) -> float:
        return (low + high) / 2


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


async def test_jobs_that_come_one_by_one_share_the_writing_of_outcomes(counted: Counted) -> None:
    """However fast they come: between two writes there is time for further jobs to end."""
    async with counted.pool() as pool, counted.pool() as adding:
        workers = await run_task_list(TASKS, pool, options(10))
        utils = WorkerUtils(adding)
        await utils.add_job("nothing")
        await until(lambda: counted.has(COMPLETE))
        counted.statements.clear()
        begun = time.monotonic()
        for _ in range(300):
            await utils.add_job("nothing")
        writes, seconds = counted.has(COMPLETE), time.monotonic() - begun
        await workers.release()
    told(writes=writes, seconds=seconds)
    assert writes <= seconds / GATHERING + 1


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
    """Chunks of thousands, in one transaction, over a connection that is given back."""
    async with counted.pool() as pool:
        await add(pool, 10_000)
        await until(lambda: any("UNLISTEN" in each for each in counted.statements))
    told(statements=len(counted.statements))
    assert len(counted.statements) <= 7  # two chunks, begin, commit, reset: 5


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
    async with counted.pool() as pool:
        workers = await run_task_list(TASKS, pool, options())
        await until(lambda: counted.has("kongtask:cancel") and counted.has(FETCH))
        counted.statements.clear()
        await until(lambda: counted.has(FETCH))
        counted.statements.clear()
        begun = time.monotonic()
        await until(lambda: counted.has(FETCH) == 3)
        found, seconds = len(counted.statements), time.monotonic() - begun
        await workers.release()
    told(statements=found, seconds=seconds)
    assert found < seconds


async def test_jobs_that_ran_leave_nothing_in_memory(counted: Counted) -> None:
    """One object kept for each job would be 20,000 blocks; what is kept does not grow."""
    async with counted.pool() as pool:
        workers = await run_task_list(TASKS, pool, options(10))
        await run_through(counted, pool, MANY)  # now fetches are as large as they get
        before = blocks()
        await run_through(counted, pool, MANY)
        kept = blocks() - before
        await workers.release()
    told(blocks=kept)
    assert kept < MANY / 20


async def run_through(counted: Counted, pool: asyncpg.Pool[Any], count: int) -> None:
    """Add jobs to a pool that runs, and wait until none is left."""
    await add(pool, count)

    async def are_done() -> bool:
        return await counted.value(LEFT) == 0

    await until(are_done, 120)
    counted.statements.clear()


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def told(**numbers: float) -> None:
    """Show what was counted, with `pytest -s`, to those who would move a bound."""
    print(" ".join(f"{name}={value:.4g}" for name, value in numbers.items()))


LATE = (
    "prometheus_client", "pebble", "multiprocessing", "croniter", "json5", "opentelemetry",
    "zoneinfo", "http.server", "kongtask.adapters", "kongtask.bench",
    "kongtask.cli.crontab_file", "kongtask.cli.processes", "kongtask.core.cron", "kongtask.dev",
    "kongtask.operator", "kongtask.postgres.administration", "kongtask.postgres.crontabs",
    "kongtask.spans", "kongtask.telemetry", "kongtask.worker.cron", "kongtask.worker.health",
    "kongtask.worker_utils",
)  # fmt: skip
"""What a worker without crontab, tracing, probes and processes never uses."""

OWN_MODULES = 65
"""Of KongTask's own modules a worker has loaded 63 in its first job; each takes about 0.6 ms."""

OTHER_MODULES = 12
"""And 8 that come with neither click, asyncpg nor uvloop, such as its tasks."""

TELLING_TASKS = """
import gc, sys
from kongtask import task

@task
async def tell(payload, helpers):
    print("frozen", gc.get_freeze_count(), gc.isenabled())
    print(" ".join(sys.modules))
"""


def test_a_worker_runs_its_first_job_without_what_it_does_not_need(
    quiet_url: str, tmp_path: Path
) -> None:
    lines = first_job(quiet_url, tmp_path)
    loaded = set(lines[-1].split())
    libraries = modules("-c", "import sys, asyncpg, click, uvloop; print(*sys.modules)")

    own = {name for name in loaded if name.partition(".")[0] == "kongtask"}
    others = loaded - own - libraries
    told(own=len(own), others=len(others))
    assert sorted(loaded & set(LATE)) == []
    assert len(own) <= OWN_MODULES
    assert len(others) <= OTHER_MODULES, sorted(others)


def test_a_worker_searches_nothing_for_garbage_that_was_there_at_its_start(
    quiet_url: str, tmp_path: Path
) -> None:
    """Some 40,000 objects, again and again, would be an eighth of a start."""
    kind, count, is_enabled = first_job(quiet_url, tmp_path)[-2].split()

    told(frozen=int(count))
    assert (kind, is_enabled) == ("frozen", "True")
    assert int(count) > 20_000


def test_names_of_the_package_are_loaded_when_they_are_used() -> None:
    loaded = modules("-c", "import sys, kongtask; kongtask.Job; print(*sys.modules)")

    own = {name for name in loaded if name.startswith("kongtask")}
    assert own == {"kongtask", "kongtask.version", "kongtask.core", "kongtask.core.job"}


def test_the_help_of_the_command_line_loads_no_command() -> None:
    ending = "import atexit, sys; atexit.register(lambda: print(*sys.modules))"
    program = f"{ending}; sys.argv[1:] = ['--help']; from kongtask.cli import main; main()"
    loaded = modules("-c", program)

    own = {name for name in loaded if name.startswith("kongtask")}
    assert own == {"kongtask", "kongtask.version", "kongtask.errors", "kongtask.cli"}
    assert "asyncpg" not in loaded


def first_job(url: str, folder: Path) -> list[str]:
    """Return what a worker prints of itself in its first job."""
    (folder / "tasks.py").write_text(TELLING_TASKS)
    run(_add(url, "tell"))
    return printed("-m", "kongtask", "worker", "--once", "-c", url, folder=folder)


def modules(*arguments: str) -> set[str]:
    """Return the words of the last line that a Python program prints."""
    return set(printed(*arguments)[-1].split())


def printed(*arguments: str, folder: Path | None = None) -> list[str]:
    """Return the lines that a Python program prints, in an environment that asks for no traces."""
    untraced = {name: text for name, text in os.environ.items() if not name.startswith("OTEL_")}
    ran = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=untraced, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


async def _add(url: str, task: str) -> None:
    async with await WorkerUtils.connect(url) as utils:
        await utils.add_job(task)

"""What tests of workers say: options, rows of the tables, events and log lines that were heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from kongtask import EventBus, WorkerPoolOptions, WorkerUtils, events

NAMES = tuple(name for key, name in vars(events).items() if key.isupper())
JOBS = "graphile_worker._private_jobs"
QUEUES = "graphile_worker._private_job_queues"
POOLS = "graphile_worker._kongtask_pools"


class Lines:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, Mapping[str, Any]]] = []

    def debug(self, message: str, meta: Mapping[str, Any] | None = None) -> None:
        self.lines.append(("debug", message, meta or {}))

    def info(self, message: str, meta: Mapping[str, Any] | None = None) -> None:
        self.lines.append(("info", message, meta or {}))

    def warn(self, message: str, meta: Mapping[str, Any] | None = None) -> None:
        self.lines.append(("warn", message, meta or {}))

    def error(self, message: str, meta: Mapping[str, Any] | None = None) -> None:
        self.lines.append(("error", message, meta or {}))

    def said(self, part: str) -> list[str]:
        """The messages that hold a text."""
        return [message for _, message, _ in self.lines if part in message]


class Heard:
    """Every event of a bus, by name, in order."""

    def __init__(self) -> None:
        self.bus = EventBus()
        self.all: list[tuple[str, Any]] = []
        for name in NAMES:
            self.bus.on(name, lambda data, name=name: self.all.append((name, data)))

    def names(self, *prefixes: str) -> list[str]:
        return [name for name, _ in self.all if name.startswith(prefixes)]

    def data(self, name: str) -> list[Any]:
        return [data for each, data in self.all if each == name]


def options(**changed: Any) -> WorkerPoolOptions:
    """Options that leave the test's own signals alone."""
    return WorkerPoolOptions(**{"no_handle_signals": True, "logger": Lines(), **changed})


async def rows(pool: asyncpg.Pool[Any]) -> list[asyncpg.Record]:
    """What stands in the job table, in the order of ids."""
    return await pool.fetch(f"select * from {JOBS} order by id")


async def count(pool: asyncpg.Pool[Any]) -> int:
    found = await pool.fetchval(f"select count(*) from {JOBS}")
    assert isinstance(found, int)
    return found


async def is_empty(pool: asyncpg.Pool[Any]) -> bool:
    return await count(pool) == 0


async def locked(pool: asyncpg.Pool[Any]) -> int:
    """How many jobs and queues are locked."""
    query = f"""select (select count(*) from {JOBS} where locked_by is not null or locked_at is not null)
        + (select count(*) from {QUEUES} where locked_by is not null or locked_at is not null)"""  # noqa: E501
    found = await pool.fetchval(query)
    assert isinstance(found, int)
    return found


async def assert_nothing_left(pool: asyncpg.Pool[Any]) -> None:
    """No job, no lock, no heartbeat."""
    assert await count(pool) == 0
    assert await locked(pool) == 0
    assert await pool.fetchval(f"select count(*) from {POOLS}") == 0


async def add(pool: asyncpg.Pool[Any], task: str, payloads: Sequence[object]) -> list[int]:
    jobs = await WorkerUtils(pool).add_jobs([(task, payload, None) for payload in payloads])
    return [job.id for job in jobs]


async def kill_backends(pool: asyncpg.Pool[Any], database_url: str) -> int:
    """End every session of the test's database but the one that asks."""
    connection = await asyncpg.connect(database_url)
    try:
        pids = await connection.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()
    return len(pids)

"""The two sides of one schema, with the same methods: Graphile Worker in Node, KongTask here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import asyncpg
from hosting import Host
from waiting import until
from work_task import GATES, work

from kongtask import (
    RescheduleSpec,
    TaskSpec,
    WorkerPool,
    WorkerPoolOptions,
    WorkerUtils,
    run_task_list,
)

OTHER = {"node": "python", "python": "node"}
JOBS = "graphile_worker._private_jobs"
QUEUES = "graphile_worker._private_job_queues"


class Side(Protocol):
    """What a test asks of either side. Options have the names that Python gives them."""

    name: str

    async def add(self, task: str, payload: object = None, **options: object) -> int: ...
    async def start(self, *tasks: str, **options: Any) -> str: ...
    async def stop(self) -> None: ...
    async def open(self, gate: str) -> None: ...
    async def force_unlock(self, pool_id: str) -> None: ...
    async def complete(self, job_id: int) -> int: ...
    async def fail(self, job_id: int, reason: str) -> int: ...
    async def reschedule(self, job_id: int, **changes: object) -> int: ...
    async def remove(self, key: str) -> None: ...


def camel(name: str) -> str:
    """Return an option's name as JavaScript has it."""
    return re.sub("_(.)", lambda found: found[1].upper(), name)


@dataclass
class Node:
    """npm's worker, in the one Node process of the run."""

    host: Host
    url: str
    name: str = "node"
    started: list[str] = field(default_factory=list)

    async def utils(self, method: str, *args: object) -> Any:
        return await self.host.call("utils", url=self.url, method=method, args=args)

    async def add(self, task: str, payload: object = None, **options: object) -> int:
        return int((await self.utils("addJob", task, payload, _in_json(options)))["id"])

    async def start(self, *tasks: str, **options: Any) -> str:
        pool = f"{self.url}/{len(self.started)}"
        self.started.append(pool)
        return str(
            await self.host.call(
                "start", pool=pool, url=self.url, tasks=tasks or ["work"],
                options={"concurrency": 8, "pollInterval": 50} | _in_node(options),
            )
        )  # fmt: skip

    async def stop(self) -> None:
        while self.started:
            await self.host.call("stop", pool=self.started.pop())

    async def open(self, gate: str) -> None:
        await self.host.call("open", gate=gate)

    async def force_unlock(self, pool_id: str) -> None:
        await self.utils("forceUnlockWorkers", [pool_id])

    async def complete(self, job_id: int) -> int:
        return len(await self.utils("completeJobs", [job_id]))

    async def fail(self, job_id: int, reason: str) -> int:
        return len(await self.utils("permanentlyFailJobs", [job_id], reason))

    async def reschedule(self, job_id: int, **changes: object) -> int:
        return len(await self.utils("rescheduleJobs", [job_id], _in_json(changes)))

    async def remove(self, key: str) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute("select graphile_worker.remove_job($1)", key)
        await connection.close()


def _in_json(options: dict[str, Any]) -> dict[str, object]:
    return {
        camel(name): value.isoformat() if isinstance(value, datetime) else value
        for name, value in options.items()
    }


def _in_node(options: dict[str, Any]) -> dict[str, Any]:
    given = {camel(name): value for name, value in options.items()}
    if (size := given.pop("localQueue", None)) is not None:
        given["preset"] = {"worker": {"localQueue": {"size": size}}}
    return given


class Quiet:
    """A logger for which nothing is worth saying."""

    def debug(self, message: str, meta: object = None) -> None: ...
    def info(self, message: str, meta: object = None) -> None: ...
    def warn(self, message: str, meta: object = None) -> None: ...
    def error(self, message: str, meta: object = None) -> None: ...


@dataclass
class Python:
    """KongTask in this process."""

    pool: asyncpg.Pool[Any]
    name: str = "python"
    started: list[WorkerPool] = field(default_factory=list)

    @property
    def utils(self) -> WorkerUtils:
        return WorkerUtils(self.pool)

    async def add(self, task: str, payload: object = None, **options: Any) -> int:
        return (await self.utils.add_job(task, payload, TaskSpec(**options))).id

    async def start(self, *tasks: str, **options: Any) -> str:
        options.pop("local_queue", None)
        given = {
            "concurrency": 8, "poll_interval": timedelta(milliseconds=50), "logger": Quiet(),
            "no_handle_signals": True, **options,
        }  # fmt: skip
        handlers = dict.fromkeys(tasks or ["work"], work)
        workers = await run_task_list(handlers, self.pool, WorkerPoolOptions(**given))
        self.started.append(workers)
        return workers.pool_id

    async def stop(self) -> None:
        while self.started:
            await self.started.pop().release()

    async def open(self, gate: str) -> None:
        GATES[gate].set()

    async def force_unlock(self, pool_id: str) -> None:
        await self.utils.force_unlock_workers([pool_id])

    async def complete(self, job_id: int) -> int:
        return len(await self.utils.complete_jobs([job_id]))

    async def fail(self, job_id: int, reason: str) -> int:
        return len(await self.utils.permanently_fail_jobs([job_id], reason))

    async def reschedule(self, job_id: int, **changes: Any) -> int:
        return len(await self.utils.reschedule_jobs([job_id], RescheduleSpec(**changes)))

    async def remove(self, key: str) -> None:
        await self.utils.remove_job(key)


@dataclass
class Table:
    """The rows of one test's schema."""

    pool: asyncpg.Pool[Any]

    async def job(self, job_id: int) -> dict[str, Any] | None:
        row = await self.pool.fetchrow(
            f"select *, payload::text as text from {JOBS} where id = $1", job_id
        )
        return None if row is None else dict(row, payload=json.loads(row["text"]))

    async def jobs(self) -> int:
        return int(await self.pool.fetchval(f"select count(*) from {JOBS}"))

    async def is_empty(self) -> bool:
        return await self.jobs() == 0

    async def runs(self, number: int | None = None) -> list[asyncpg.Record]:
        """Runs, in the order in which they began, of one number or of all."""
        return await self.pool.fetch(
            "select *, payload->>'number' as number from runs "
            "where $1::int is null or (payload->>'number')::int = $1 order by id",
            number,
        )

    async def execute(self, statement: str, *arguments: object) -> None:
        await self.pool.execute(statement, *arguments)


async def begun(table: Table, number: int, runs: int = 1) -> list[Any]:
    """Wait until a number began to run so many times."""

    async def is_begun() -> list[Any] | None:
        found = await table.runs(number)
        return found if len(found) >= runs else None

    return list(await until(is_begun))


async def settled(table: Table, job_id: int) -> dict[str, Any]:
    """Wait until a job that failed is unlocked, and return it."""

    async def is_unlocked() -> dict[str, Any] | None:
        job = await table.job(job_id)
        assert job is not None, "the job is gone"
        return job if job["locked_at"] is None and job["last_error"] is not None else None

    return dict(await until(is_unlocked))

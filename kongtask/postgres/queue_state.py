"""How much work a schema holds: what the operator decides the number of workers by.

Counting is bounded in rows and in time, so that looking never becomes a load of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from kongtask.errors import StoreUnavailable
from kongtask.postgres.records import translated_statement
from kongtask.postgres.statements import statement

TIME_LIMIT_MILLISECONDS = 2000
"""How long one of the statements may take before it is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """The queue of one schema at the database's `now`.

    ready: jobs that could run, a named queue counting as one. ready_capped: there are more.
    running: locked jobs. locked_by: how many of them each pool of workers holds. next_run_at:
    when the first job of the future becomes due. read_only: the server takes no writes.
    announced: the tasks that each living worker knows, by its name. unknown_tasks: those of due
    jobs that none of the tasks asked for.
    """

    ready: int
    ready_capped: bool = False
    running: int = 0
    locked_by: Mapping[str, int]
    next_run_at: datetime | None = None
    now: datetime
    read_only: bool = False
    announced: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unknown_tasks: tuple[str, ...] = ()


async def read_queue(
    connection: asyncpg.Connection[Any],
    schema: str,
    cap: int,
    tasks: Sequence[str] | None = None,
) -> QueueState:
    """Read the queue of a schema, counting no more than `cap` waiting jobs.

    With `tasks` only their jobs are counted as waiting: others would wait for ever.

    Raises `ConfigurationError` when the schema lacks its tables, `StoreUnavailable` when the
    connection is lost or a statement takes longer than 2 seconds.
    """
    with translated_statement(schema):
        try:
            counts, locks, workers = await _read(connection, schema, cap, tasks)
        except asyncpg.QueryCanceledError as error:
            raise StoreUnavailable(
                f"counting jobs took longer than {TIME_LIMIT_MILLISECONDS} ms: "
                "check the server's load and that the job table is vacuumed"
            ) from error
    locked_by = {row["locked_by"]: row["jobs"] for row in locks}
    ready = counts["unqueued"] + counts["queues"]
    return QueueState(
        ready=min(ready, cap),
        ready_capped=ready > cap or cap in (counts["unqueued"], counts["sampled"]),
        running=sum(locked_by.values()),
        locked_by=locked_by,
        next_run_at=counts["next_run_at"],
        now=counts["now"],
        read_only=counts["read_only"],
        announced={row["host"]: tuple(row["tasks"]) for row in workers},
        unknown_tasks=tuple(counts["unknown_tasks"]),
    )


async def _read(
    connection: asyncpg.Connection[Any], schema: str, cap: int, tasks: Sequence[str] | None
) -> tuple[Any, list[Any], list[Any]]:
    async with connection.transaction():
        limit = str(TIME_LIMIT_MILLISECONDS)
        await connection.execute(statement("queue_time_limit", schema), limit)
        known = None if tasks is None else list(tasks)
        counts = await connection.fetchrow(statement("queue_counts", schema), cap, known)
        locks = await connection.fetch(statement("queue_locks", schema))
        return counts, locks, await connection.fetch(statement("queue_workers", schema))

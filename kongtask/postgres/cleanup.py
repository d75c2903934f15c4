"""Takes away what nobody needs any more: failed jobs, and names without jobs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal, get_args

import asyncpg

from kongtask.errors import ConfigurationError
from kongtask.postgres.records import translated_statement
from kongtask.postgres.statements import statement

CleanupTask = Literal["delete_permafailed_jobs", "gc_task_identifiers", "gc_job_queues"]
"""The steps of a cleanup, in the order in which they run; names are Graphile Worker's."""

DEFAULT_CLEANUP: tuple[CleanupTask, ...] = ("gc_job_queues",)

_QUERIES: dict[CleanupTask, str] = {
    "delete_permafailed_jobs": "cleanup_failed_jobs",
    "gc_task_identifiers": "cleanup_tasks",
    "gc_job_queues": "cleanup_queues",
}


async def cleanup(
    pool: asyncpg.Pool[Any],
    schema: str,
    tasks: Collection[CleanupTask],
    task_identifiers_to_keep: Sequence[str] = (),
) -> dict[CleanupTask, int]:
    """Do the steps and return how much each took away; raises `ConfigurationError`."""
    for name in tasks:
        if name not in _QUERIES:
            known = ", ".join(get_args(CleanupTask))
            raise ConfigurationError(f"cleanup cannot {name!r}: write some of {known}")
    gone: dict[CleanupTask, int] = {}
    with translated_statement(schema):
        for name, query in _QUERIES.items():
            if name in tasks:
                given = [list(task_identifiers_to_keep)] if name == "gc_task_identifiers" else []
                gone[name] = await pool.fetchval(statement(query, schema), *given)
    return gone

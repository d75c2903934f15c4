"""Takes away what nobody needs any more: failed jobs, and names without jobs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal, get_args

import asyncpg

from kongtask.core.task_spec import is_text
from kongtask.errors import ConfigurationError, shown
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
    known = get_args(CleanupTask)
    is_list = isinstance(tasks, Iterable) and not isinstance(tasks, str | bytes)
    for name in tasks if is_list else [tasks]:
        if name not in known:
            raise ConfigurationError(
                f"cleanup cannot {shown(name)}: write some of {', '.join(known)}"
            )
    keep = task_identifiers_to_keep
    if isinstance(keep, str) or not isinstance(keep, Iterable) or not all(map(is_text, keep)):
        raise ConfigurationError(
            f"task_identifiers_to_keep must be a list of task identifiers, got {shown(keep)}"
        )
    gone: dict[CleanupTask, int] = {}
    with translated_statement(schema):
        for name, query in _QUERIES.items():
            if name in tasks:
                given = [list(task_identifiers_to_keep)] if name == "gc_task_identifiers" else []
                gone[name] = await pool.fetchval(statement(query, schema), *given)
    return gone

"""The ways to run tasks from Python: for as long as the program runs, or until no job is left."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kongtask.errors import ConfigurationError, KongTaskError, shown
from kongtask.postgres.pool import close_pool, open_pool
from kongtask.worker.options import WorkerPoolOptions
from kongtask.worker.pool import WorkerPool
from kongtask.worker.tasks import TaskHandler

if TYPE_CHECKING:
    import asyncpg


async def run_task_list(
    tasks: Mapping[str, TaskHandler],
    pool: asyncpg.Pool[Any] | str,
    options: WorkerPoolOptions | None = None,
) -> WorkerPool:
    """Start a pool of workers and return it while it runs; `wait` or `release` it.

    tasks: handlers by task name.
    pool: an asyncpg pool of at least 4 connections, or a connection string.
    options: see `WorkerPoolOptions`.

    The schema must have been migrated, see `run_migrations`. SIGTERM and SIGINT drain the pool
    unless `no_handle_signals` is set. Raises `ConfigurationError` or `StoreUnavailable`.

    Example::

        workers = await run_task_list({"mail": send_mail}, pool, WorkerPoolOptions(concurrency=4))
        await workers.add_job("mail", {"to": "ann"})
        await workers.release()
    """
    return await _started(tasks, pool, options, once=False)


async def run_task_list_once(
    tasks: Mapping[str, TaskHandler],
    pool: asyncpg.Pool[Any] | str,
    options: WorkerPoolOptions | None = None,
) -> None:
    """Run jobs until none is left that could run now, those they add included, then return.

    Jobs of the future are not waited for, and neither are retries. Cancelling it cuts running jobs
    off. Arguments and errors are those of `run_task_list`.

    Example::

        await utils.add_job("mail", {"to": "ann"})
        await run_task_list_once({"mail": send_mail}, pool)
        assert await utils.list_jobs("waiting") == []
    """
    workers = await _started(tasks, pool, options, once=True)
    try:
        await workers.wait()
    except asyncio.CancelledError:
        workers.cut()
        with suppress(KongTaskError):
            await workers.wait()
        raise


async def _started(
    tasks: Mapping[str, TaskHandler],
    pool: asyncpg.Pool[Any] | str,
    options: WorkerPoolOptions | None,
    *,
    once: bool,
) -> WorkerPool:
    options = WorkerPoolOptions() if options is None else options
    if not isinstance(options, WorkerPoolOptions):
        raise ConfigurationError(f"options must be WorkerPoolOptions, got {shown(options)}")
    if not isinstance(pool, str):
        workers = WorkerPool(tasks, pool, options, once=once)
        await workers.start()
        return workers
    opened = await open_pool(pool, max_size=options.max_pool_size)
    try:
        workers = WorkerPool(tasks, opened, options, once=once, owns_pool=True, dsn=pool)
        await workers.start()
    except BaseException:
        await close_pool(opened)
        raise
    return workers

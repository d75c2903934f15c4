"""Talking to a queue without working it: add jobs, and look after those that are there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kongtask.core.job import Job
from kongtask.core.task_spec import JobKeyMode, TaskSpec
from kongtask.postgres.administration import JobAdministration, JobState, RescheduleSpec
from kongtask.postgres.cleanup import DEFAULT_CLEANUP, CleanupTask, cleanup
from kongtask.postgres.enqueue import JobQueue, NewJob
from kongtask.postgres.migrations import run_migrations
from kongtask.postgres.pool import close_pool, open_pool
from kongtask.postgres.statements import DEFAULT_SCHEMA
from kongtask.tracing import Tracing

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[Any]


class WorkerUtils:
    """The job queue of one schema, for producers and administrators.

    Give it an asyncpg pool of yours, or let `connect` open one; leaving it as an asynchronous
    context manager closes what `connect` opened. With `connection` a job exists if and only if
    that connection's transaction commits.
    """

    def __init__(
        self, pool: asyncpg.Pool[Any], schema: str = DEFAULT_SCHEMA, *, dsn: str = ""
    ) -> None:
        self.pool = pool
        self.schema = schema
        self._owned = False
        self._queue = JobQueue(pool, schema, Tracing(dsn))
        self._administration = JobAdministration(pool, schema)

    @classmethod
    async def connect(cls, connection_string: str, schema: str = DEFAULT_SCHEMA) -> Self:
        """Open a pool of connections; raises `ConfigurationError` or `StoreUnavailable`."""
        utils = cls(await open_pool(connection_string), schema, dsn=connection_string)
        utils._owned = True
        return utils

    async def migrate(self) -> int:
        """Bring the schema to this version's level and return it."""
        return await run_migrations(self.pool, self.schema)

    async def add_job(
        self,
        task: str,
        payload: object = None,
        spec: TaskSpec | None = None,
        *,
        connection: Connection | None = None,
    ) -> Job:
        """Add one job and return it; raises `InvalidJob`."""
        return await self._queue.add_job(task, payload, spec, connection=connection)

    async def add_jobs(
        self,
        jobs: Iterable[NewJob],
        *,
        connection: Connection | None = None,
        return_jobs: bool = True,
    ) -> list[Job]:
        """Add jobs as (task, payload, spec), all or none; return them in the order given.

        They are read and sent in chunks, in one transaction. With `return_jobs=False` the list is
        empty, and memory does not grow with their number, job keys apart.
        """
        return await self._queue.add_jobs(jobs, connection=connection, return_jobs=return_jobs)

    async def complete_jobs(self, job_ids: Sequence[int]) -> list[Job]:
        """Delete jobs as done; return those that were not running."""
        return await self._administration.complete_jobs(job_ids)

    async def permanently_fail_jobs(
        self, job_ids: Sequence[int], reason: str | None = None
    ) -> list[Job]:
        """Fail jobs for good; return those that were not running."""
        return await self._administration.permanently_fail_jobs(job_ids, reason)

    async def reschedule_jobs(self, job_ids: Sequence[int], spec: RescheduleSpec) -> list[Job]:
        """Change when and how jobs run; return those that were not running."""
        return await self._administration.reschedule_jobs(job_ids, spec)

    async def remove_job(self, job_key: str) -> Job | None:
        """Remove the job with this key, or None; one that runs loses its further attempts."""
        return await self._administration.remove_job(job_key)

    async def force_unlock_workers(self, pool_ids: Sequence[str]) -> None:
        """Unlock everything these pools hold; only right when they are dead."""
        await self._administration.force_unlock_workers(pool_ids)

    async def cancel_jobs(self, job_ids: Sequence[int], reason: str = "cancelled") -> list[Job]:
        """Cancel jobs, whether they wait or run, and return them; they are not run again.

        A job that waits is failed for good with the reason. One that runs loses its further
        attempts, and the pool that runs it cancels its handler: coroutine functions and processes
        end at once, threads see `helpers.is_cancelled`. Workers of Node let it run to its end.
        """
        return await self._administration.cancel_jobs(job_ids, reason)

    async def list_jobs(self, state: JobState, limit: int = 100) -> list[Job]:
        """Return jobs that are `waiting`, `scheduled` for later, `running` or `failed` for good.

        The next to run come first; of those that failed, the newest. limit: 1 or more.
        """
        return await self._administration.list_jobs(state, limit)

    async def cleanup(
        self,
        tasks: Collection[CleanupTask] = DEFAULT_CLEANUP,
        task_identifiers_to_keep: Sequence[str] = (),
    ) -> dict[CleanupTask, int]:
        """Take away what nobody needs any more; return how much of each.

        `delete_permafailed_jobs`, `gc_task_identifiers` (except those to keep and those of living
        pools; no worker of Graphile Worker may run meanwhile) and `gc_job_queues`, in this order.
        Raises `ConfigurationError` for any other step.
        """
        return await cleanup(self.pool, self.schema, tasks, task_identifiers_to_keep)

    async def known_tasks(self) -> list[str]:
        """Return the task identifiers that workers have announced or jobs were added for."""
        return await self._administration.known_tasks()

    async def release(self) -> None:
        """Close the connections that `connect` opened. Twice is fine."""
        if self._owned:
            self._owned = False
            await close_pool(self.pool)

    async def __aenter__(self) -> Self:
        """Return these utilities."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release what `connect` opened."""
        await self.release()


class Worker:
    """Adds jobs to one schema, with a method for each way in which keys can behave."""

    def __init__(self, pool: asyncpg.Pool[Any], schema: str = DEFAULT_SCHEMA) -> None:
        self._queue = JobQueue(pool, schema)

    async def add_job(self, task: str, payload: object = None) -> Job:
        """Add a job with the default options and return it."""
        return await self._queue.add_job(task, payload)

    async def add_job_with_spec(self, task: str, payload: object, spec: TaskSpec) -> Job:
        """Add a job with options and return it; raises `InvalidJob`."""
        return await self._queue.add_job(task, payload, spec)

    async def add_job_with_replace(self, task: str, payload: object, job_key: str) -> Job:
        """Add a job, or replace the waiting one with this key, its time included."""
        return await self._keyed(task, payload, job_key, "replace")

    async def add_job_with_preserve_run_at(self, task: str, payload: object, job_key: str) -> Job:
        """Add a job, or replace the waiting one with this key, except for its time."""
        return await self._keyed(task, payload, job_key, "preserve_run_at")

    async def add_job_with_unsafe_dedupe(self, task: str, payload: object, job_key: str) -> Job:
        """Add a job, unless there is one with this key, even one that failed for good."""
        return await self._keyed(task, payload, job_key, "unsafe_dedupe")

    async def _keyed(self, task: str, payload: object, job_key: str, mode: JobKeyMode) -> Job:
        return await self._queue.add_job(
            task, payload, TaskSpec(job_key=job_key, job_key_mode=mode)
        )

"""Talking to a queue without working it: add jobs, and look after those that are there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kongtask.core.cron.item import ParsedCronItem
from kongtask.core.cron.schedule import KnownCrontab
from kongtask.core.job import Job
from kongtask.core.task_spec import JobKeyMode, TaskSpec
from kongtask.postgres.administration import JobAdministration, JobState, RescheduleSpec
from kongtask.postgres.cleanup import DEFAULT_CLEANUP, CleanupTask, cleanup
from kongtask.postgres.crontabs import CrontabStore
from kongtask.postgres.enqueue import JobQueue, NewJob
from kongtask.postgres.migrations import run_migrations
from kongtask.postgres.pool import close_pool, open_pool
from kongtask.postgres.statements import DEFAULT_SCHEMA, quote_schema
from kongtask.tracing import Tracing

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[Any] | PoolConnectionProxy[Any]


class WorkerUtils:
    """The job queue of one schema, for producers and administrators.

    Give it an asyncpg pool of yours, or let `connect` open one; leaving it as an asynchronous
    context manager closes what `connect` opened. With `connection` a job exists if and only if
    that connection's transaction commits.

    pool: the asyncpg pool that is used.
    schema: Postgres schema of the job tables, 1 to 63 bytes; default graphile_worker.

    Every method raises `StoreUnavailable` when Postgres is away, `InvalidJob` for an argument that
    no job can have, and `ConfigurationError` when the schema has no tables. The rules are those of
    Graphile Worker's functions of the same names.

    Example::

        async with await WorkerUtils.connect(database_url) as own:
            job = await own.add_job("send_email", {"to": "ann"})
        assert job.id
    """

    def __init__(
        self, pool: asyncpg.Pool[Any], schema: str = DEFAULT_SCHEMA, *, dsn: str = ""
    ) -> None:
        quote_schema(schema)
        self.pool = pool
        self.schema = schema
        self._owned = False
        self._queue = JobQueue(pool, schema, Tracing(dsn))
        self._administration = JobAdministration(pool, schema)
        self._crontabs = CrontabStore(pool, schema)

    @classmethod
    async def connect(cls, connection_string: str, schema: str = DEFAULT_SCHEMA) -> Self:
        """Open a pool of connections; raises `ConfigurationError` or `StoreUnavailable`.

        No message shows the connection string's password.

        Example::

            own = await WorkerUtils.connect(database_url)
            await own.add_job("send_email", {"to": "ann"})
            await own.release()
        """
        utils = cls(await open_pool(connection_string), schema, dsn=connection_string)
        utils._owned = True
        return utils

    async def migrate(self) -> int:
        """Bring the schema to this version's level and return it, as `run_migrations` does.

        Example::

            assert await utils.migrate() == await run_migrations(pool)
        """
        return await run_migrations(self.pool, self.schema)

    async def add_job(
        self,
        task: str,
        payload: object = None,
        spec: TaskSpec | None = None,
        *,
        connection: Connection | None = None,
    ) -> Job:
        """Add one job and return it; raises `InvalidJob` before anything is sent.

        payload: what JSON can say; None is an empty object.

        Example::

            job = await utils.add_job("send_email", {"to": "ann"}, TaskSpec(priority=5))
            assert (job.payload, job.priority) == ({"to": "ann"}, 5)

            async with pool.acquire() as connection, connection.transaction():
                await utils.add_job("charge", {"order": 1}, connection=connection)
        """
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

        Example::

            jobs = await utils.add_jobs([("resize", {"image": n}, None) for n in range(3)])
            assert [job.payload["image"] for job in jobs] == [0, 1, 2]
        """
        return await self._queue.add_jobs(jobs, connection=connection, return_jobs=return_jobs)

    async def complete_jobs(self, job_ids: Sequence[int]) -> list[Job]:
        """Delete jobs as done; return those that were not running.

        Example::

            job = await utils.add_job("send_email")
            assert [each.id for each in await utils.complete_jobs([job.id])] == [job.id]
        """
        return await self._administration.complete_jobs(job_ids)

    async def permanently_fail_jobs(
        self, job_ids: Sequence[int], reason: str | None = None
    ) -> list[Job]:
        """Fail jobs for good; return those that were not running.

        reason: kept as the job's `last_error`; default "Manually marked as failed".

        Example::

            job = await utils.add_job("send_email")
            (failed,) = await utils.permanently_fail_jobs([job.id], "no such customer")
            assert failed.last_error == "no such customer" and failed.attempts == 25
        """
        return await self._administration.permanently_fail_jobs(job_ids, reason)

    async def reschedule_jobs(self, job_ids: Sequence[int], spec: RescheduleSpec) -> list[Job]:
        """Change when and how jobs run; return those that were not running.

        Example::

            job = await utils.add_job("send_email")
            (changed,) = await utils.reschedule_jobs([job.id], RescheduleSpec(priority=-1))
            assert changed.priority == -1
        """
        return await self._administration.reschedule_jobs(job_ids, spec)

    async def remove_job(self, job_key: str) -> Job | None:
        """Remove the job with this key, or None; one that runs loses its further attempts.

        Example::

            await utils.add_job("remind", spec=TaskSpec(job_key="remind-7"))
            assert (await utils.remove_job("remind-7")).key == "remind-7"
            assert await utils.remove_job("remind-7") is None
        """
        return await self._administration.remove_job(job_key)

    async def force_unlock_workers(self, pool_ids: Sequence[str]) -> None:
        """Unlock everything these pools hold; only right when they are dead.

        pool_ids: as they stand in `Job.locked_by`.

        Example::

            job = await utils.add_job("send_email")
            await pool.execute("update graphile_worker._private_jobs set locked_by = 'pool-gone'")
            await utils.force_unlock_workers(["pool-gone"])
            assert (await utils.list_jobs("waiting"))[0].locked_by is None
        """
        await self._administration.force_unlock_workers(pool_ids)

    async def cancel_jobs(self, job_ids: Sequence[int], reason: str = "cancelled") -> list[Job]:
        """Cancel jobs, whether they wait or run, and return them; they are not run again.

        A job that waits is failed for good with the reason. One that runs loses its further
        attempts, and the pool that runs it cancels its handler: coroutine functions and processes
        end at once, threads see `helpers.is_cancelled`. Workers of Node let it run to its end.

        Example::

            job = await utils.add_job("send_email")
            (cancelled,) = await utils.cancel_jobs([job.id], "the order was withdrawn")
            assert cancelled.last_error == "the order was withdrawn"
        """
        return await self._administration.cancel_jobs(job_ids, reason)

    async def list_jobs(self, state: JobState, limit: int = 100) -> list[Job]:
        """Return jobs that are `waiting`, `scheduled` for later, `running` or `failed` for good.

        The next to run come first; of those that failed, the newest. limit: 1 or more, default 100.

        Example::

            await utils.add_job("send_email")
            assert [job.task_identifier for job in await utils.list_jobs("waiting")] == [
                "send_email"
            ]
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

        Example::

            job = await utils.add_job("send_email", spec=TaskSpec(queue_name="mail"))
            await utils.complete_jobs([job.id])
            assert await utils.cleanup(["gc_job_queues"]) == {"gc_job_queues": 1}
        """
        return await cleanup(self.pool, self.schema, tasks, task_identifiers_to_keep)

    async def known_tasks(self) -> list[str]:
        """Return the task identifiers that workers have announced or jobs were added for.

        Example::

            await utils.add_job("send_email")
            assert await utils.known_tasks() == ["send_email"]
        """
        return await self._administration.known_tasks()

    async def known_crontabs(self) -> dict[str, KnownCrontab]:
        """Return what is known of recurring jobs, by identifier: since when, last fired, paused.

        Example::

            await utils.pool.execute(
                "insert into graphile_worker._private_known_crontabs values ('report', now())"
            )
            assert (await utils.known_crontabs())["report"].last_execution is None
        """
        return await self._crontabs.known()

    async def pause_cron(self, identifier: str) -> bool:
        """Pause a recurring job everywhere, also in workers of Node; return whether it ran before.

        Raises `ConfigurationError` for an identifier that no scheduler ever had.

        Example::

            await utils.pool.execute(
                "insert into graphile_worker._private_known_crontabs values ('report', now())"
            )
            assert await utils.pause_cron("report")
            assert (await utils.known_crontabs())["report"].paused
        """
        return await self._crontabs.pause(identifier)

    async def resume_cron(self, identifier: str) -> bool:
        """Let a paused recurring job go on from now; return whether it was paused.

        What it missed is not made up for. Raises `ConfigurationError` as `pause_cron` does.

        Example::

            await utils.pool.execute(
                "insert into graphile_worker._private_known_crontabs values ('report', now())"
            )
            await utils.pause_cron("report")
            assert await utils.resume_cron("report")
            assert not await utils.resume_cron("report")
        """
        return await self._crontabs.resume(identifier)

    async def run_cron_item(self, item: ParsedCronItem) -> Job:
        """Add a recurring job's job at once and return it; when it fires next stays as it is.

        Example::

            (item,) = parse_crontab("@daily report {to: 'all'}")
            job = await utils.run_cron_item(item)
            assert job.payload["to"] == "all" and job.payload["_cron"]["backfilled"] is False
        """
        return await self._crontabs.run_now(item)

    async def release(self) -> None:
        """Close the connections that `connect` opened. Twice is fine.

        Example::

            await (await WorkerUtils.connect(database_url)).release()
        """
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
    """Adds jobs to one schema, with a method for each way in which keys can behave.

    pool: an asyncpg pool.
    schema: Postgres schema of the job tables, 1 to 63 bytes; default graphile_worker.

    Every method returns the `Job`, and raises `InvalidJob` before anything is sent,
    `StoreUnavailable` when Postgres is away.

    Example::

        job = await Worker(pool, "graphile_worker").add_job("send_email", {"to": "ann"})
        assert job.max_attempts == 25
    """

    def __init__(self, pool: asyncpg.Pool[Any], schema: str = DEFAULT_SCHEMA) -> None:
        quote_schema(schema)
        self._queue = JobQueue(pool, schema)

    async def add_job(self, task: str, payload: object = None) -> Job:
        """Add a job with the default options and return it.

        Example::

            job = await Worker(pool).add_job("send_email", {"to": "ann"})
            assert job.priority == 0
        """
        return await self._queue.add_job(task, payload)

    async def add_job_with_spec(self, task: str, payload: object, spec: TaskSpec) -> Job:
        """Add a job with options and return it.

        Example::

            job = await Worker(pool).add_job_with_spec("mail", {}, TaskSpec(max_attempts=3))
            assert job.max_attempts == 3
        """
        return await self._queue.add_job(task, payload, spec)

    async def add_job_with_replace(self, task: str, payload: object, job_key: str) -> Job:
        """Add a job, or replace the waiting one with this key, its time included.

        Example::

            first = await Worker(pool).add_job_with_replace("report", {"n": 1}, "daily")
            second = await Worker(pool).add_job_with_replace("report", {"n": 2}, "daily")
            assert (second.id, second.payload) == (first.id, {"n": 2})
            assert second.run_at > first.run_at
        """
        return await self._keyed(task, payload, job_key, "replace")

    async def add_job_with_preserve_run_at(self, task: str, payload: object, job_key: str) -> Job:
        """Add a job, or replace the waiting one with this key, except for its time.

        Example::

            first = await Worker(pool).add_job_with_preserve_run_at("report", {"n": 1}, "daily")
            second = await Worker(pool).add_job_with_preserve_run_at("report", {"n": 2}, "daily")
            assert (second.run_at, second.payload) == (first.run_at, {"n": 2})
        """
        return await self._keyed(task, payload, job_key, "preserve_run_at")

    async def add_job_with_unsafe_dedupe(self, task: str, payload: object, job_key: str) -> Job:
        """Add a job, unless there is one with this key, even one that failed for good.

        Example::

            first = await Worker(pool).add_job_with_unsafe_dedupe("report", {"n": 1}, "daily")
            second = await Worker(pool).add_job_with_unsafe_dedupe("report", {"n": 2}, "daily")
            assert (second.id, second.payload) == (first.id, {"n": 1})
        """
        return await self._keyed(task, payload, job_key, "unsafe_dedupe")

    async def _keyed(self, task: str, payload: object, job_key: str, mode: JobKeyMode) -> Job:
        spec = TaskSpec(job_key=job_key, job_key_mode=mode)
        return await self._queue.add_job(task, payload, spec)

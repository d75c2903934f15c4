"""What a handler gets besides its payload: the job, a logger, the database, ways to add jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from kongtask.core.job import Job
from kongtask.core.task_spec import TaskSpec
from kongtask.logger import Logger, ScopedLogger
from kongtask.postgres.enqueue import JobQueue, NewJob
from kongtask.worker.run import Run

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[Any] | PoolConnectionProxy[Any]

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is the same for all jobs of a pool."""

    logger: Logger
    pool: asyncpg.Pool[Any]
    queue: JobQueue


class Helpers:
    """Given to every handler that is a coroutine function.

    Example::

        async def welcome(payload, helpers):
            helpers.logger.info("welcome", {"attempt": helpers.job.attempts})
            async with helpers.connection() as connection:
                assert await connection.fetchval("select 1") == 1
            assert helpers.pool is pool and helpers.queue.schema == helpers.schema
            assert helpers.worker_id.startswith("worker-")
            seen.append((helpers.schema, helpers.queue_name, helpers.is_cancelled))

        seen = []
        await utils.add_job("welcome")
        await run_task_list_once({"welcome": welcome}, pool)
        assert seen == [("graphile_worker", None, False)]
    """

    __slots__ = ("_logger", "_run", "_surroundings")

    def __init__(self, surroundings: Surroundings, run: Run) -> None:
        self._surroundings = surroundings
        self._run = run
        self._logger: ScopedLogger | None = None

    @property
    def logger(self) -> ScopedLogger:
        """Adds the job, the task and the worker to each line."""
        if self._logger is None:
            job, worker = self._run.job, self._run.worker_id
            scope = {"task": job.task_identifier, "job": job.id, "worker": worker}
            self._logger = ScopedLogger(self._surroundings.logger, scope)
        return self._logger

    @property
    def pool(self) -> asyncpg.Pool[Any]:
        """The asyncpg pool that the worker uses."""
        return self._surroundings.pool

    @property
    def schema(self) -> str:
        """Postgres schema of the job tables."""
        return self._surroundings.queue.schema

    @property
    def job(self) -> Job:
        """The row that is being run; `job.attempts` counts this run."""
        return self._run.job

    @property
    def worker_id(self) -> str:
        """Name of the worker, one of the pool's `concurrency`, that runs it."""
        return self._run.worker_id

    @property
    def queue(self) -> JobQueue:
        """The door through which `add_job` adds."""
        return self._surroundings.queue

    @property
    def is_cancelled(self) -> bool:
        """Whether this run was told to end: by its time-out, by somebody, or by a shutdown."""
        return self._run.reason is not None

    @property
    def queue_name(self) -> str | None:
        """The named queue that the job belongs to, or None."""
        return self._run.job.queue_name

    async def add_job(
        self,
        task: str,
        payload: object = None,
        spec: TaskSpec | None = None,
        *,
        connection: Connection | None = None,
    ) -> Job:
        """Add another job, inside the transaction of `connection` when one is given.

        Raises `InvalidJob` and `StoreUnavailable`.

        Example::

            async def order(payload, helpers):
                await helpers.add_job("charge", payload, TaskSpec(priority=-1))

            await utils.add_job("order", {"id": 1})
            await run_task_list_once({"order": order}, pool)
            assert (await utils.list_jobs("waiting"))[0].task_identifier == "charge"
        """
        return await self.queue.add_job(task, payload, spec, connection=connection)

    async def add_jobs(
        self,
        jobs: Iterable[NewJob],
        *,
        connection: Connection | None = None,
        return_jobs: bool = True,
    ) -> list[Job]:
        """Add jobs as (task, payload, spec), all or none; return them in the order given.

        With `return_jobs=False` the list is empty, and adding very many is faster.

        Example::

            async def split(payload, helpers):
                await helpers.add_jobs([("part", n, None) for n in range(payload)])

            await utils.add_job("split", 3)
            await run_task_list_once({"split": split}, pool)
            assert len(await utils.list_jobs("waiting")) == 3
        """
        return await self.queue.add_jobs(jobs, connection=connection, return_jobs=return_jobs)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection of the pool: `async with helpers.connection() as connection`.

        Example::

            async def ask(payload, helpers):
                async with helpers.connection() as connection:
                    answers.append(await connection.fetchval("select 42"))

            answers = []
            await utils.add_job("ask")
            await run_task_list_once({"ask": ask}, pool)
            assert answers == [42]
        """
        async with self.pool.acquire() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction, committed unless the block raises.

        Give it to `add_job(connection=…)`, and the job is added if and only if it commits.

        Example::

            async def order(payload, helpers):
                async with helpers.transaction() as connection:
                    await helpers.add_job("charge", payload, connection=connection)
                    raise FailJob("no such customer")

            await utils.add_job("order", {"id": 1})
            await run_task_list_once({"order": order}, pool)
            assert await utils.list_jobs("waiting") == []
        """
        async with self.pool.acquire() as connection, connection.transaction():
            yield connection


class ThreadHelpers:
    """Given to every handler that is a plain function: it runs in a thread, and may block.

    The same as `Helpers`, but its methods return when they are done instead of being awaited.

    logger, schema, job, worker_id, queue_name: as there.

    Example::

        def split(payload, helpers):
            if not helpers.is_cancelled:
                helpers.add_job("whole", payload)
                helpers.add_jobs([("part", n, None) for n in range(payload)])

        await utils.add_job("split", 2)
        await run_task_list_once({"split": split}, pool)
        assert len(await utils.list_jobs("waiting")) == 3
    """

    def __init__(self, helpers: Helpers, loop: asyncio.AbstractEventLoop) -> None:
        self._helpers = helpers
        self._loop = loop
        self.logger = helpers.logger
        self.schema = helpers.schema
        self.job = helpers.job
        self.worker_id = helpers.worker_id
        self.queue_name = helpers.queue_name

    @property
    def is_cancelled(self) -> bool:
        """Whether this run was told to end; look at it in long loops and raise or return."""
        return self._helpers.is_cancelled

    def add_job(self, task: str, payload: object = None, spec: TaskSpec | None = None) -> Job:
        """Add another job."""
        return self._done(self._helpers.add_job(task, payload, spec))

    def add_jobs(self, jobs: Iterable[NewJob], *, return_jobs: bool = True) -> list[Job]:
        """Add jobs as (task, payload, spec), all or none; return them in the order given."""
        return self._done(self._helpers.add_jobs(jobs, return_jobs=return_jobs))

    def _done(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            if _is_running(self._loop):
                raise RuntimeError(
                    "the helpers of a plain function were called on the event loop, which they "
                    "would block for ever: make the handler itself an `async def`"
                )
            done = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise
        return done.result()


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this very thread is the one that the loop runs in."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False

"""Runs one job's handler and says what became of it. It neither fetches nor writes jobs.

A handler's exception is never wrapped and never lets go: it becomes an outcome.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from kongtask.clock import Clock
from kongtask.core.attempt import RELEASED, SUCCESS, Outcome, failure
from kongtask.core.job import Job
from kongtask.errors import TaskNotFound
from kongtask.logger import Logger, ScopedLogger
from kongtask.postgres.enqueue import JobQueue
from kongtask.tracing import Tracing
from kongtask.worker.helpers import Helpers, ThreadHelpers
from kongtask.worker.tasks import TaskHandler, is_coroutine_handler

if TYPE_CHECKING:
    import asyncpg


class Executor:
    """Calls handlers: coroutine functions on the event loop, plain functions in threads."""

    def __init__(
        self,
        tasks: Mapping[str, TaskHandler],
        *,
        pool: asyncpg.Pool[Any],
        queue: JobQueue,
        logger: Logger,
        tracing: Tracing,
        clock: Clock,
        threads: int,
    ) -> None:
        self._tasks = {name: (each, is_coroutine_handler(each)) for name, each in tasks.items()}
        self._pool = pool
        self._queue = queue
        self._logger = logger
        self._tracing = tracing
        self._clock = clock
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="kongtask-job")
        self.is_cutting = False
        """Whether jobs are cancelled because patience has ended; a handler may cancel itself."""

    async def execute(self, job: Job, worker_id: str) -> Outcome:
        """Run the job; returns `released` when it was cut off, so that it can be given back."""
        with self._tracing.processing(job, worker_id=worker_id, now=self._clock.now()) as span:
            try:
                await self._call(job, self._helpers(job, worker_id))
                outcome = SUCCESS
            except asyncio.CancelledError as error:
                outcome = RELEASED if self.is_cutting else failure(job, error)
            except BaseException as error:
                outcome = failure(job, error)
            span.finish(outcome)
        return outcome

    def close(self) -> None:
        """Let go of the threads; those that still run a handler go on by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _helpers(self, job: Job, worker_id: str) -> Helpers:
        scope = {"task": job.task_identifier, "job": job.id, "worker": worker_id}
        return Helpers(
            logger=ScopedLogger(self._logger, scope),
            pool=self._pool,
            schema=self._queue.schema,
            job=job,
            worker_id=worker_id,
            queue=self._queue,
        )

    async def _call(self, job: Job, helpers: Helpers) -> None:
        found = self._tasks.get(job.task_identifier)
        if found is None:
            raise TaskNotFound(f"this worker has no task {job.task_identifier!r}")
        handler, is_coroutine = found
        if is_coroutine:
            await handler(job.payload, helpers)
            return
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        result, error = await loop.run_in_executor(
            self._threads, context.run, _called, handler, job.payload, ThreadHelpers(helpers, loop)
        )
        if error is not None:
            raise error
        if inspect.isawaitable(result):
            await result


def _called(handler: TaskHandler, *arguments: object) -> tuple[Any, BaseException | None]:
    """Return what the handler returned or raised: a future cannot hold every exception."""
    try:
        return handler(*arguments), None
    except BaseException as error:
        return None, error

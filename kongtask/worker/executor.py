"""Runs one job's handler and says what became of it. It neither fetches nor writes jobs.

A handler's exception is never wrapped and never lets go: it becomes an outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kongtask.clock import Clock
from kongtask.core.attempt import SUCCESS, Outcome, failure
from kongtask.core.batch import batch_outcome, is_batch
from kongtask.core.control import JobCancelled, JobLost, JobTimedOut
from kongtask.core.job import Job
from kongtask.errors import TaskNotFound
from kongtask.logger import Logger
from kongtask.postgres.enqueue import JobQueue
from kongtask.tracing import Tracing
from kongtask.worker.calls import Call, Calls
from kongtask.worker.helpers import Helpers, Surroundings
from kongtask.worker.run import Run
from kongtask.worker.tasks import TaskHandler, task_options

if TYPE_CHECKING:
    import asyncpg


class Executor:
    """Runs jobs of its tasks, each with its time-out, until they end or are told to."""

    def __init__(
        self,
        tasks: Mapping[str, TaskHandler],
        *,
        pool: asyncpg.Pool[Any],
        queue: JobQueue,
        logger: Logger,
        tracing: Tracing,
        clock: Clock,
        concurrency: int,
        job_timeout: timedelta | None = None,
    ) -> None:
        self._calls = Calls(concurrency)
        self._tasks: dict[str, tuple[Call, timedelta | None]] = {}
        for name, handler in tasks.items():
            options = task_options(name, handler)
            self._tasks[name] = (self._calls.of(handler, options), options.timeout or job_timeout)
        self._surroundings = Surroundings(logger=logger, pool=pool, queue=queue)
        self._logger = logger
        self._tracing = tracing
        self._clock = clock
        self.cut_outcome: Callable[[Job], Outcome] | None = None
        """What becomes of jobs that are cancelled because patience has ended, once it has."""

    def way(self) -> Callable[[Run], Coroutine[Any, Any, None]]:
        """Return what runs a job just now: whether spans are made is asked once for many jobs.

        It leaves the outcome in the run; of one that was cut off, that of `cut_outcome`.
        """
        return self._traced if self._tracing.is_on else self._guarded

    async def _traced(self, run: Run) -> None:
        with self._tracing.processing(
            run.job, worker_id=run.worker_id, now=self._clock.now()
        ) as span:
            await self._guarded(run)
            span.finish(run.outcome)

    def is_cancellable(self, job: Job) -> bool:
        """Whether cancelling the asyncio task of a run ends its handler."""
        found = self._tasks.get(job.task_identifier)
        return found is None or found[0].is_cancellable

    async def close(self) -> None:
        """End processes and let go of threads; one that runs a handler goes on by itself."""
        await self._calls.close()

    async def _guarded(self, run: Run) -> None:
        job = run.job
        try:
            found = self._tasks.get(job.task_identifier)
            if found is None:
                raise TaskNotFound(f"this worker has no task {job.task_identifier!r}")
            call, timeout = found
            payload, helpers = job.payload, Helpers(self._surroundings, run)
            if timeout is None:
                result = await call.handle(payload, helpers)
            else:
                result = await _timed(call, payload, helpers, run, timeout)
            if run.reason is not None:
                raise run.reason  # a thread ended although it was told to stop
            if type(payload) is list:
                run.outcome = await self._judged(job, payload, result)
        except asyncio.CancelledError as error:
            run.outcome = self._interrupted(job, run.reason or error)
        except BaseException as error:
            run.outcome = failure(job, run.reason or _without_our_frames(error))

    def _interrupted(self, job: Job, reason: BaseException) -> Outcome:
        if self.cut_outcome is None or isinstance(reason, JobCancelled | JobTimedOut | JobLost):
            return failure(job, reason)
        return self.cut_outcome(job)

    async def _judged(self, job: Job, payload: Any, result: Any) -> Outcome:
        if not isinstance(result, list | tuple):
            return SUCCESS
        if not is_batch(payload, result):
            self._logger.warn(
                f"job {job.id}: the handler returned {len(result)} results for {len(payload)} "
                "elements, all of them count as done: return one for each, or None",
                {"job": job.id, "task": job.task_identifier},
            )
            return SUCCESS
        return batch_outcome(job, payload, await _settled(result))


async def _timed(call: Call, payload: Any, helpers: Helpers, run: Run, timeout: timedelta) -> Any:
    def told() -> None:
        run.reason = run.reason or JobTimedOut(f"took longer than {timeout}")
        if call.is_cancellable and task is not None:
            task.cancel()

    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    timer = loop.call_later(timeout.total_seconds(), told)
    try:
        return await call.handle(payload, helpers)
    finally:
        timer.cancel()


async def _settled(results: Sequence[Any]) -> list[Any]:
    """Await what can be awaited among the results, all at once; exceptions stay values."""
    awaited = {at: each for at, each in enumerate(results) if hasattr(each, "__await__")}
    done = await asyncio.gather(*awaited.values(), return_exceptions=True)
    ended = dict(zip(awaited, done, strict=True))
    return [ended.get(at, each) for at, each in enumerate(results)]


def _without_our_frames(error: BaseException) -> BaseException:
    """Return the error with a traceback that begins in the user's code."""
    trace = error.__traceback__
    while trace is not None and "/kongtask/worker/" in trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next
    return error if trace is None else error.with_traceback(trace)

"""The three ways to call a handler: on the event loop, in a thread, in a process.

A call is awaited like a coroutine, whichever way it goes. It knows nothing of outcomes.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kongtask.core.job import Job
from kongtask.logger import ScopedLogger, StandardLogger
from kongtask.worker.helpers import Helpers, ThreadHelpers
from kongtask.worker.tasks import TaskHandler, TaskOptions, is_coroutine_handler

if TYPE_CHECKING:
    from pebble import ProcessPool

PROCESS_END = 10.0
"""Seconds that processes have to end."""


@dataclass(frozen=True, slots=True)
class Call:
    """How one handler is called.

    handle: returns something to await, which gives what the handler returns or raises.
    is_cancellable: whether to cancel what is awaited ends the handler.
    """

    handle: Callable[[Any, Helpers], Awaitable[Any]]
    is_cancellable: bool


class Calls:
    """Makes calls, and keeps the threads and processes they need."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="kongtask-job")
        self._processes: ProcessPool | None = None

    def of(self, handler: TaskHandler, options: TaskOptions) -> Call:
        """Return the way to call a handler."""
        if is_coroutine_handler(handler):
            return Call(handler, is_cancellable=True)
        if options.process:
            return Call(_InProcess(handler, self._process_pool), is_cancellable=True)
        return Call(_InThread(handler, self._threads), is_cancellable=False)

    async def close(self) -> None:
        """End processes and let go of threads; one that runs a handler goes on by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        processes, self._processes = self._processes, None
        if processes is not None:
            processes.stop()  # type: ignore[no-untyped-call]
            with suppress(TimeoutError):
                await asyncio.to_thread(processes.join, PROCESS_END)

    def _process_pool(self) -> ProcessPool:
        if self._processes is None:
            # Most workers have no such handler, and start the sooner for it.
            import multiprocessing

            from pebble import ProcessPool

            context = multiprocessing.get_context("spawn")
            self._processes = ProcessPool(max_workers=self._concurrency, context=context)
        return self._processes


class _InThread:
    def __init__(self, handler: TaskHandler, threads: ThreadPoolExecutor) -> None:
        self._handler = handler
        self._threads = threads

    async def __call__(self, payload: Any, helpers: Helpers) -> Any:
        loop = asyncio.get_running_loop()
        run = contextvars.copy_context().run
        result, error = await loop.run_in_executor(
            self._threads, run, _called, self._handler, payload, ThreadHelpers(helpers, loop)
        )
        if error is not None:
            raise error
        return await result if inspect.isawaitable(result) else result


class _InProcess:
    def __init__(self, handler: TaskHandler, pool: Callable[[], ProcessPool]) -> None:
        self._handler = handler
        self._pool = pool

    async def __call__(self, payload: Any, helpers: Helpers) -> Any:
        theirs = ProcessHelpers(helpers.job, helpers.schema, helpers.worker_id)
        future = self._pool().schedule(self._handler, args=(payload, theirs))
        return await asyncio.wrap_future(future)


class ProcessHelpers:
    """Given to a handler that runs in a process of its own: what can be carried there.

    To add jobs from there, return what is to be done and let another task do it, or open a
    connection.
    """

    def __init__(self, job: Job, schema: str, worker_id: str) -> None:
        self.job = job
        self.schema = schema
        self.worker_id = worker_id
        self.queue_name = job.queue_name

    @property
    def logger(self) -> ScopedLogger:
        """Logs by the `logging` of the process that runs the handler."""
        scope = {"task": self.job.task_identifier, "job": self.job.id, "worker": self.worker_id}
        return ScopedLogger(StandardLogger(), scope)


def _called(handler: TaskHandler, *arguments: object) -> tuple[Any, BaseException | None]:
    """Return what the handler returned or raised: a future cannot hold every exception."""
    try:
        return handler(*arguments), None
    except BaseException as error:
        return None, error

"""A pool of workers: puts the parts together and sees them through, to the last write."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack
from contextvars import Context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kongtask.core.event import (
    POOL_CREATE,
    POOL_GRACEFUL_SHUTDOWN,
    POOL_GRACEFUL_SHUTDOWN_COMPLETE,
    POOL_RELEASE,
    STOP,
    WORKER_CREATE,
    WORKER_RELEASE,
    WORKER_STOP,
)
from kongtask.core.job import Job
from kongtask.core.task_spec import TaskSpec
from kongtask.errors import KongTaskError, SchemaTooNew
from kongtask.postgres.enqueue import JobQueue
from kongtask.postgres.jobs import JobStore
from kongtask.postgres.life import Beat
from kongtask.postgres.listener import Listener
from kongtask.postgres.migrations import check_level, read_level
from kongtask.postgres.pool import close_pool
from kongtask.tracing import Tracing
from kongtask.worker.announcer import Announcer
from kongtask.worker.crew import Crew
from kongtask.worker.dispatcher import Dispatcher
from kongtask.worker.executor import Executor
from kongtask.worker.fetcher import Fetcher
from kongtask.worker.heart import Heart
from kongtask.worker.heart_thread import HeartThread
from kongtask.worker.identity import check_size, pool_identity
from kongtask.worker.options import WorkerPoolOptions
from kongtask.worker.outage import Outage
from kongtask.worker.recorder import Recorder
from kongtask.worker.run import Run
from kongtask.worker.signals import handled_signals
from kongtask.worker.tasks import TaskHandler, check_tasks
from kongtask.worker.unserved import UnservedTasks
from kongtask.worker.watchdog import watched_loop

if TYPE_CHECKING:
    import asyncpg

LAST_WRITES = 15.0
"""Seconds for the last outcomes to be written, where patience is limited at all."""

TURN = 5.0
"""Seconds between two notes that the event loop turns."""


class WorkerPool:
    """Runs jobs from `start` until it is released or a signal arrives.

    Made by `run_task_list`. Leaving it as an asynchronous context manager releases it.

    Example::

        async with await run_task_list({"mail": send_mail}, pool) as workers:
            job = await workers.add_job("mail", {"to": "ann"})
            assert workers.is_alive and not workers.is_stopping
            is_ready = workers.is_ready  # from the first answer of the database on
            assert workers.pool_id.startswith("pool-") and workers.turned_at > 0
            assert workers.trouble is None
        workers.stop("it ended already, which is fine")
        await workers.wait()
        await workers.release()
        assert workers.is_stopping and workers.running == [] and workers.waiting == 0
    """

    def __init__(
        self,
        tasks: Mapping[str, TaskHandler],
        pool: asyncpg.Pool[Any],
        options: WorkerPoolOptions,
        *,
        once: bool = False,
        owns_pool: bool = False,
        dsn: str = "",
    ) -> None:
        check_size(pool)
        clock = options.clock
        self._options = options
        self._pool = pool
        self._once = once
        self._owns_pool = owns_pool
        handlers = check_tasks(tasks)
        identity = pool_identity(options, list(handlers), once=once)
        self.pool_id = identity.pool_id
        self._worker_ids = [f"worker-{clock.token()}" for _ in range(options.concurrency)]
        self._announcer = Announcer(self.pool_id, self._worker_ids, options)
        self._store = JobStore(pool, options.schema, identity, clock)
        tracing = Tracing(dsn)
        self._queue = JobQueue(pool, options.schema, tracing)
        self._outage = Outage(
            pool_id=self.pool_id, logger=options.logger, events=options.events, clock=clock,
            on_change=lambda: self._listener.suspect(),
        )  # fmt: skip
        self._listener = self._new_listener()
        self._recorder = Recorder(
            store=self._store, logger=options.logger, clock=clock, outage=self._outage,
            on_settled=self._settled,
        )  # fmt: skip
        self._executor = Executor(
            handlers, pool=pool, queue=self._queue, logger=options.logger,
            tracing=tracing, clock=clock, concurrency=options.concurrency,
            job_timeout=options.job_timeout,
        )  # fmt: skip
        self._crew = Crew(
            worker_ids=list(self._worker_ids), executor=self._executor, recorder=self._recorder,
            options=options, on_room=lambda: self._dispatcher.has_room(),
        )  # fmt: skip
        self._dispatcher = self._new_dispatcher()
        self._heart = HeartThread(pool, options.schema, identity, self._new_heart())
        self._turned_at = clock.monotonic()
        self._stopped_for: str | None = None
        self._refusal: KongTaskError | None = None
        self._signals = ExitStack()
        self._checking: asyncio.Task[None] | None = None
        self._main: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Check the schema, make the tasks known, and begin to run jobs.

        Raises `ConfigurationError` or `StoreUnavailable` when that cannot work. A signal that
        arrives meanwhile ends the pool before its first job. `run_task_list` calls it.

        Example::

            workers = WorkerPool({"mail": send_mail}, pool, WorkerPoolOptions())
            await workers.start()
            workers.cut()
            await workers.wait()
        """
        with ExitStack() as stack:
            if not self._options.no_handle_signals:
                stack.enter_context(handled_signals(self.stop, self.cut))
            await self._prepare()
            self._signals = stack.pop_all()
        self._announcer.pool(POOL_CREATE)
        self._announcer.workers(WORKER_CREATE)
        # In a context of its own: whatever span the caller is in ends before the pool does.
        self._main = asyncio.get_running_loop().create_task(self._run(), context=Context())

    async def _prepare(self) -> None:
        try:
            await self._check_schema()
            await self._store.register_tasks()
            await self._heart.start()
        except BaseException:
            await self._store.abandon()
            raise

    async def wait(self) -> None:
        """Return when the pool has ended.

        Raises `ShutdownTimeout` when jobs had to be cut off, `SchemaTooNew` when the schema was
        migrated beyond what this version understands.
        """
        assert self._main is not None, "the pool was not started"
        await asyncio.shield(self._main)

    async def release(self) -> None:
        """Stop fetching, let running jobs finish, write what became of them. Twice is fine.

        Raises as `wait` does, after the `drain_timeout`, which is without limit by default.
        """
        self.stop("released")
        await self.wait()

    def stop(self, reason: str) -> None:
        """Begin to end: what `release` waits for."""
        if self._stopped_for is not None:
            return
        self._stopped_for = reason
        self._announcer.pool(STOP, reason)
        self._announcer.pool(POOL_GRACEFUL_SHUTDOWN, reason)
        self._announcer.workers(WORKER_RELEASE)
        self._dispatcher.stop()

    def cut(self, by: str | None = None) -> None:
        """End without waiting for running jobs: they are cancelled, see `drain_action`.

        by: name of the signal that said so, if one did.
        """
        self.stop("cut off")
        self._dispatcher.cut(by)

    async def add_job(self, task: str, payload: object = None, spec: TaskSpec | None = None) -> Job:
        """Add a job to the pool's schema and return it; raises `InvalidJob`."""
        return await self._queue.add_job(task, payload, spec)

    @property
    def is_stopping(self) -> bool:
        """Whether the pool was told to end."""
        return self._stopped_for is not None

    @property
    def is_ready(self) -> bool:
        """Whether the database answers and jobs are taken."""
        return self._dispatcher.is_answered and not self.is_stopping and self.is_alive

    @property
    def is_alive(self) -> bool:
        """Whether the pool has not ended by itself."""
        return self._main is None or not self._main.done()

    @property
    def trouble(self) -> str | None:
        """Why the database cannot be used just now; None while it answers."""
        return self._outage.reason

    @property
    def turned_at(self) -> float:
        """The monotonic moment at which the event loop was last seen to turn."""
        return self._turned_at

    @property
    def running(self) -> list[Job]:
        """The jobs that run now."""
        return self._crew.running

    @property
    def waiting(self) -> int:
        """How many jobs are fetched and not started."""
        return self._crew.waiting

    async def __aenter__(self) -> Self:
        """Return the pool, which runs already."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the pool."""
        await self.release()

    async def _run(self) -> None:
        with self._signals, watched_loop(self._options.logger, self._crew.job_of):
            try:
                await self._work()
            except BaseExceptionGroup as group:
                raise _first(group) from None
            finally:
                await self._leave()
        if self._refusal is not None:
            raise self._refusal

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as parts:
            recording = parts.create_task(self._recorder.run())
            others = [parts.create_task(part) for part in self._parts()]
            try:
                await self._dispatcher.run()
            finally:
                await self._record_last(recording)
                for part in (recording, *others):
                    part.cancel()
                # They give their connections back; the group would cancel them once more.
                await asyncio.wait((recording, *others))
                await self._let_go()

    async def _turn(self) -> None:
        """Note again and again that the event loop turns, for the health server."""
        while True:
            self._turned_at = self._options.clock.monotonic()
            await self._options.clock.sleep(TURN)

    def _new_listener(self) -> Listener:
        return Listener(
            self._pool, on_jobs=lambda count: self._dispatcher.nudge(count),
            on_migration=self._migrated, on_cancel=self._cancelled, on_state=self._listening,
            clock=self._options.clock,
        )  # fmt: skip

    def _new_dispatcher(self) -> Dispatcher:
        fetcher = Fetcher(store=self._store, options=self._options, held=self._held)
        return Dispatcher(
            pool_id=self.pool_id, fetcher=fetcher, crew=self._crew, recorder=self._recorder,
            options=self._options, outage=self._outage, once=self._once,
        )  # fmt: skip

    def _new_heart(self) -> Heart:
        """Return a heart that tells this event loop what it hears on its own."""
        return Heart(
            clock=self._options.clock,
            recovery_timeout=self._options.recovery_timeout,
            held=lambda: self._crew.held,
            on_beat=lambda beat, at: self._heart.call(self._beaten, beat, at),
            on_trouble=lambda error: self._heart.call(self._outage.trouble, "heartbeat", error),
        )

    def _beaten(self, beat: Beat, asked_at: float) -> None:
        self._outage.answered("heartbeat")
        self._crew.lost(beat.lost, asked_at)
        self._announcer.freed(beat.freed)
        if beat.freed:
            self._dispatcher.freed()

    async def _leave(self) -> None:
        await self._executor.close()
        if not self._dispatcher.is_cut:
            self._announcer.pool(POOL_GRACEFUL_SHUTDOWN_COMPLETE, self._stopped_for or "")
        self._announcer.pool(POOL_RELEASE, self._stopped_for or "")
        await self._options.events.settle()
        if self._owns_pool:
            await close_pool(self._pool)

    def _parts(self) -> Sequence[Coroutine[Any, Any, None]]:
        if self._once:
            return [self._turn()]
        options = self._options
        unserved = UnservedTasks(store=self._store, logger=options.logger, clock=options.clock)
        parts = [self._turn(), unserved.run()]
        if options.listen:
            parts.append(self._listener.run())
        if options.cron_items:
            from kongtask.worker.cron import run_crontab  # most pools do without

            parts.append(run_crontab(self._pool, options))
        return parts

    async def _record_last(self, recording: asyncio.Task[None]) -> None:
        """Wait until the last outcomes are written, for as long as there is patience."""
        settled = asyncio.ensure_future(self._recorder.settled())
        cut = asyncio.ensure_future(self._dispatcher.cut_off())
        patience = None if self._options.drain_timeout is None else LAST_WRITES
        ends = {settled, recording}
        try:
            await asyncio.wait({*ends, cut}, timeout=patience, return_when="FIRST_COMPLETED")
            if cut.done():
                await asyncio.wait(ends, timeout=LAST_WRITES, return_when="FIRST_COMPLETED")
        finally:
            settled.cancel()
            cut.cancel()
        self._announcer.unwritten(len(self._recorder.unsettled))

    async def _let_go(self) -> None:
        """Leave nothing locked and nobody believing that this pool lives."""
        await self._heart.stop()
        try:
            async with asyncio.timeout(LAST_WRITES):
                await self._store.leave()
        except Exception as error:
            said = "timed out" if isinstance(error, TimeoutError) else error
            self._options.logger.warn(f"the heartbeat is left to run out: {said}")
        await self._store.abandon()
        self._announcer.workers(WORKER_STOP)

    def _held(self) -> list[int]:
        return [*self._crew.held, *(run.job.id for run in self._recorder.unsettled)]

    def _settled(self, runs: Sequence[Run], lost: bool) -> None:
        self._dispatcher.settled(runs, lost)
        self._announcer.settled(runs, lost)

    def _listening(self, trouble: str | None) -> None:
        if trouble is not None:
            self._dispatcher.nudge()  # it will see for itself whether the database is away
        self._announcer.listening(trouble, is_away=self._outage.reason is not None)

    def _cancelled(self, pool_id: str, job_ids: set[int]) -> None:
        if pool_id == self.pool_id:
            self._dispatcher.hand_over()
            self._crew.cancel(job_ids)

    def _migrated(self, breaking: bool) -> None:
        if breaking:
            self._checking = asyncio.get_running_loop().create_task(self._check_again())

    async def _check_schema(self) -> None:
        schema = self._options.schema
        check_level(await read_level(self._pool, schema), schema)

    async def _check_again(self) -> None:
        try:
            await self._check_schema()
        except SchemaTooNew as error:
            self._options.logger.error(f"stopping: {error}")
            self._refusal = error
            self.stop("the schema was migrated beyond this version")
        except KongTaskError as error:
            self._options.logger.warn(f"the schema's level cannot be read: {error}")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

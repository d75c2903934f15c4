"""Keeps the workers of one pool busy: fetches jobs ahead, starts them, and lets them end.

    fetch ──► waiting ──► running ──► recorder
                 └───────── stop ────────┘  given back, with their attempt

It asks the database again when it may have more: after a full fetch, when somebody added jobs,
when a named queue became free, and after the poll interval.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from kongtask.core.attempt import CANCELLED, RELEASED, Outcome, cut_off
from kongtask.core.control import JobCancelled, JobLost
from kongtask.core.event import (
    JOB_LOST,
    JOB_START,
    POOL_FORCEFUL_SHUTDOWN,
    WORKER_GET_JOB_EMPTY,
    WORKER_GET_JOB_ERROR,
    WORKER_GET_JOB_START,
    FetchData,
    JobStartData,
    PoolData,
)
from kongtask.core.job import Job
from kongtask.core.pacing import LONGEST_WAIT, Pace, fetch_size, look_ahead, observed
from kongtask.errors import ShutdownTimeout
from kongtask.postgres.jobs import JobStore
from kongtask.worker.executor import Executor
from kongtask.worker.options import WorkerPoolOptions
from kongtask.worker.outage import Outage
from kongtask.worker.recorder import Recorder, Run, Settled

LAST_WORD = 5.0
"""Seconds that a job has to end which was cut off at the end of patience."""

LAST_WORD_AT_ONCE = 1.0
"""The same after a second signal."""

LAST_FETCH = 5.0
"""Seconds that a fetch under way may still take after a stop."""

FIRST_TROUBLE = 0.1
LONGEST_TROUBLE = 2.0
"""Seconds to wait at most after a fetch that failed, before jitter."""


@dataclass(slots=True, kw_only=True)
class _Started:
    job: Job
    worker_id: str
    at: float
    is_lost: bool = False
    successor: Job | None = None

    def ended(self, outcome: Outcome, now: float) -> Run:
        return Run(
            job=self.job, worker_id=self.worker_id, outcome=outcome, seconds=now - self.at
        )  # fmt: skip


class Dispatcher:
    """Runs until it is stopped, or with `once` until no job is left that could run now."""

    def __init__(
        self,
        *,
        pool_id: str,
        worker_ids: list[str],
        store: JobStore,
        executor: Executor,
        recorder: Recorder,
        options: WorkerPoolOptions,
        outage: Outage,
        once: bool,
    ) -> None:
        self._pool_id = pool_id
        self._idle = worker_ids
        self._store = store
        self._executor = executor
        self._recorder = recorder
        self._options = options
        self._outage = outage
        self._once = once
        self._waiting: deque[tuple[Job, float]] = deque()  # and when each was fetched
        self._running: dict[asyncio.Task[None], _Started] = {}
        self._pace = Pace(at=options.clock.monotonic())
        self._finished = 0
        self._more = True
        self._unsure = False
        self._troubles = 0
        self._fetching: asyncio.Timeout | None = None
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._cut = asyncio.Event()
        self.is_answered = False
        self.cut_by: str | None = None

    @property
    def running(self) -> list[Job]:
        """The jobs that run now."""
        return [each.job for each in list(self._running.values())]

    @property
    def waiting(self) -> int:
        """How many jobs are fetched and not started."""
        return len(self._waiting)

    def nudge(self, _count: int = 1) -> None:
        """Look for jobs now: some may have been added or freed."""
        self._more = True
        self._wake.set()

    def settled(self, done: Settled) -> None:
        """Hear that an outcome is written: its named queue, or the job itself, may be fetched."""
        if done.lost:
            self._unsure = True  # its queue may still be locked by this pool
        run = done.run
        if run.job.queue_name is not None or run.outcome is RELEASED or self._once:
            self.nudge()

    def stop(self) -> None:
        """Fetch no more, give back what has not begun, let the rest finish."""
        self._stopping.set()
        self._wake.set()
        if self._fetching is not None and self._fetching.when() is None:
            self._fetching.reschedule(asyncio.get_running_loop().time() + LAST_FETCH)

    def cancel(self, job_ids: Collection[int]) -> None:
        """End jobs that somebody cancelled: those that run, and those fetched and not started."""
        for task, begun in list(self._running.items()):
            if begun.job.id in job_ids:
                self._tell_to_end(task, begun, JobCancelled("cancelled while it ran"))
        kept = [each for each in self._waiting if each[0].id not in job_ids]
        gone = [each[0] for each in self._waiting if each[0].id in job_ids]
        self._waiting = deque(kept)
        for job in gone:
            self._recorder.record(Run(job=job, worker_id="", outcome=CANCELLED, seconds=0.0))

    @property
    def held(self) -> list[int]:
        """The ids of the jobs that are fetched or run."""
        return [*(job.id for job, _ in list(self._waiting)), *(job.id for job in self.running)]

    def lost(self, job_ids: Collection[int], asked_at: float) -> None:
        """Let go of jobs of which the database said, at that moment, that others may run them."""
        if not job_ids:
            return
        for task, begun in list(self._running.items()):
            if begun.job.id in job_ids and begun.at <= asked_at:
                self._lose(task, begun)
        self._waiting = deque(
            each for each in self._waiting if each[0].id not in job_ids or each[1] > asked_at
        )

    def _lose(self, task: asyncio.Task[None], begun: _Started) -> None:
        if begun.is_lost:
            return
        begun.is_lost = True
        self._options.logger.warn(
            f"the lock of job {begun.job.id} was lost while it ran: its handler is told to end",
            {"job": begun.job.id, "task": begun.job.task_identifier},
        )
        told = JobStartData(worker_id=begun.worker_id, job=begun.job)
        self._options.events.emit(JOB_LOST, told)
        self._tell_to_end(task, begun, JobLost("the job's lock was lost: others may run it"))

    def _tell_to_end(self, task: asyncio.Task[None], begun: _Started, reason: Exception) -> None:
        if self._executor.cancel(begun.job.id, reason):
            task.cancel()

    def job_of(self, task: asyncio.Task[Any]) -> str | None:
        """Name the job that an asyncio task runs, or None."""
        begun = self._running.get(task)
        return None if begun is None else f"{begun.job.task_identifier} (job {begun.job.id})"

    @property
    def is_cut(self) -> bool:
        """Whether running jobs are not waited for any longer."""
        return self._cut.is_set()

    async def cut_off(self) -> None:
        """Return when running jobs are not waited for any longer."""
        await self._cut.wait()

    def cut(self, by: str | None = None) -> None:
        """Do not wait for running jobs any longer. `by`: the signal that said so, if one did."""
        self.cut_by = self.cut_by or by
        self._cut.set()

    async def run(self) -> None:
        """Fetch and start jobs; return when stopped and nothing runs any more.

        Raises `ShutdownTimeout` when jobs were cut off.
        """
        try:
            await self._dispatch()
        finally:
            self._stopping.set()
            self._give_back_waiting()
            await self._drain()

    async def _dispatch(self) -> None:
        while not self._stopping.is_set():
            self._give_back_stale()
            wanted = self._wanted() if self._more else 0
            if wanted:
                if not await self._fill(wanted):
                    return
            elif not await self._pause(self._options.poll_interval):
                self._more = True

    def _wanted(self) -> int:
        now = self._options.clock.monotonic()
        self._pace = observed(self._pace, self._finished, now)
        self._finished = 0
        return fetch_size(
            concurrency=self._options.concurrency,
            running=len(self._running),
            waiting=len(self._waiting),
            ahead=0 if self._once else look_ahead(self._pace),
        )

    async def _fill(self, wanted: int) -> bool:
        """Fetch up to so many jobs; return whether to go on."""
        self._more = False
        self._tell(WORKER_GET_JOB_START, wanted)
        try:
            jobs = await self._fetch_while_wanted(wanted)
        except Exception as error:  # also what the user's forbidden_flags_fn raises
            return await self._excused(wanted, error)
        self._outage.answered("fetching")
        self.is_answered, self._troubles = True, 0
        self._start(jobs)
        if len(jobs) == wanted or any(job.queue_name is not None for job in jobs):
            self._more = True
        if not jobs:
            self._tell(WORKER_GET_JOB_EMPTY, wanted)
            return not self._once or await self._once_more()
        return True

    async def _fetch_while_wanted(self, wanted: int) -> list[Job]:
        try:
            async with asyncio.timeout(None) as self._fetching:
                return await self._fetch(wanted)
        finally:
            self._fetching = None

    async def _fetch(self, wanted: int) -> list[Job]:
        if self._unsure:
            self._unsure = False
            try:
                await self._store.give_back_unheld(self._held())
            except BaseException:
                self._unsure = True
                raise
        flags = await self._forbidden_flags()
        try:
            return await self._store.fetch(wanted, flags)
        except BaseException:
            self._unsure = True  # the jobs may be locked although nobody told us so
            raise

    def _held(self) -> list[int]:
        waiting = [job.id for job, _ in self._waiting]
        unsettled = [run.job.id for run in self._recorder.unsettled]
        return [*waiting, *unsettled, *(job.id for job in self.running)]

    async def _forbidden_flags(self) -> list[str]:
        ask = self._options.forbidden_flags_fn
        found = ask() if ask is not None else None
        more = await found if inspect.isawaitable(found) else found
        return sorted({*self._options.forbidden_flags, *(more or ())})

    async def _excused(self, wanted: int, error: Exception) -> bool:
        if self._stopping.is_set():
            return False
        if self._once:
            raise error
        self._outage.trouble("fetching", error)
        self.is_answered = False
        self._tell(WORKER_GET_JOB_ERROR, wanted, error)
        delay = min(LONGEST_TROUBLE, FIRST_TROUBLE * 2 ** min(self._troubles, 10))
        self._troubles += 1
        await self._pause(timedelta(seconds=delay * self._options.clock.jitter()))
        self._more = True
        return True

    async def _once_more(self) -> bool:
        """Return whether jobs that still run may bring further ones."""
        if not self._running and not self._waiting and not self._recorder.unsettled:
            return self._more
        await self._pause(None)
        self._more = True
        return True

    async def _pause(self, limit: timedelta | None) -> bool:
        """Wait until something happens; return False when nothing did within the limit."""
        seconds = None if limit is None else limit.total_seconds()
        if self._waiting:
            seconds = min(seconds or LONGEST_WAIT, LONGEST_WAIT)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    def _start(self, jobs: list[Job]) -> None:
        now = self._options.clock.monotonic()
        running = {begun.job.id: (task, begun) for task, begun in self._running.items()}
        for job in jobs:
            if job.id in running:  # others freed it, and here it is again: one run at a time
                task, begun = running[job.id]
                self._lose(task, begun)
                begun.successor = job
            else:
                self._waiting.append((job, now))
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._idle and self._waiting and not self._stopping.is_set():
            job, _ = self._waiting.popleft()
            at = self._options.clock.monotonic()
            begun = _Started(job=job, worker_id=self._idle.pop(), at=at)
            started = asyncio.get_running_loop().create_task(self._work(begun))
            self._running[started] = begun
            started.add_done_callback(self._ended(begun.worker_id))

    def _ended(self, worker_id: str) -> Callable[[asyncio.Task[None]], None]:
        def ended(task: asyncio.Task[None]) -> None:
            begun = self._running.pop(task, None)
            if begun is not None and begun.successor is not None:
                self._start([begun.successor])
            self._idle.append(worker_id)
            self._finished += 1
            self._start_waiting()
            if self._more or self._once:
                self._wake.set()

        return ended

    async def _work(self, begun: _Started) -> None:
        started = JobStartData(worker_id=begun.worker_id, job=begun.job)
        self._options.events.emit(JOB_START, started)
        outcome = await self._executor.execute(begun.job, begun.worker_id)
        ended = begun.ended(outcome, self._options.clock.monotonic())
        if begun.is_lost:
            self._recorder.forfeit(ended)
        elif asyncio.current_task() in self._running:  # else it was given back already
            self._recorder.record(ended)

    def _give_back_stale(self) -> None:
        oldest = self._options.clock.monotonic() - LONGEST_WAIT
        while self._waiting and self._waiting[0][1] <= oldest:
            self._give_back(self._waiting.popleft()[0])

    def _give_back_waiting(self) -> None:
        while self._waiting:
            self._give_back(self._waiting.popleft()[0])

    def _give_back(self, job: Job) -> None:
        self._recorder.record(Run(job=job, worker_id="", outcome=RELEASED, seconds=0.0))

    async def _drain(self) -> None:
        """Let running jobs finish, as long as there is patience; then cut them off."""
        limit = self._options.drain_timeout
        cut = asyncio.ensure_future(self._cut.wait())
        while self._running and not cut.done():
            before = self._options.clock.monotonic()
            done, _ = await asyncio.wait(
                {*self._running, cut},
                timeout=None if limit is None else limit.total_seconds(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if limit is not None:
                passed = timedelta(seconds=self._options.clock.monotonic() - before)
                limit = max(timedelta(0), limit - passed)
            if not done:
                break
        cut.cancel()
        if self._running:
            await self._cut_off()

    async def _cut_off(self) -> None:
        jobs = self.running
        stuck = list(self._running)
        why = "patience ended" if self.cut_by is None else f"a second {self.cut_by}"
        told = PoolData(pool_id=self._pool_id, message=why)
        self._options.events.emit(POOL_FORCEFUL_SHUTDOWN, told)
        self._executor.cut_outcome = self._cut_outcome
        for task in stuck:
            task.cancel()
        patience = LAST_WORD if self.cut_by is None else LAST_WORD_AT_ONCE
        _, deaf = await asyncio.wait(stuck, timeout=patience)
        for task in deaf:
            begun = self._running.pop(task)
            outcome = self._cut_outcome(begun.job)
            self._recorder.record(begun.ended(outcome, self._options.clock.monotonic()))
        became = "given back" if self._options.drain_action == "release" else "failed"
        raise ShutdownTimeout(jobs, self.cut_by, became)

    def _cut_outcome(self, job: Job) -> Outcome:
        return cut_off(job, self._options.drain_action)

    def _tell(self, event: str, wanted: int, error: BaseException | None = None) -> None:
        data = FetchData(pool_id=self._pool_id, wanted=wanted, error=error)
        self._options.events.emit(event, data)

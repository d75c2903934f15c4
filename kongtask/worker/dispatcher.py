"""Keeps the workers of one pool busy: fetches jobs ahead, hands them over, and lets them end.

    fetch ──► crew: waiting ──► running ──► recorder
                      └────────── stop ───────┘  given back, with their attempt

It asks the database again when it may have more: after a full fetch, when somebody added jobs,
when a named queue became free, and after the poll interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from kongtask.core.attempt import RELEASED, Outcome, cut_off
from kongtask.core.event import (
    POOL_FORCEFUL_SHUTDOWN,
    WORKER_GET_JOB_EMPTY,
    WORKER_GET_JOB_ERROR,
    WORKER_GET_JOB_START,
    FetchData,
    PoolData,
)
from kongtask.core.job import Job
from kongtask.core.pacing import LONGEST_WAIT, Pace, fetch_size, look_ahead, observed
from kongtask.errors import ShutdownTimeout
from kongtask.worker.crew import Crew
from kongtask.worker.fetcher import Fetcher
from kongtask.worker.options import WorkerPoolOptions
from kongtask.worker.outage import Outage
from kongtask.worker.recorder import Recorder
from kongtask.worker.run import Run

LAST_WORD = 5.0
"""Seconds that a job has to end which was cut off at the end of patience."""

LAST_WORD_AT_ONCE = 1.0
"""The same after a second signal."""

LAST_FETCH = 5.0
"""Seconds that a fetch under way may still take after a stop."""

MANY = 100
"""Jobs from which on the next fetch is sent before they are read: PostgreSQL should not wait."""

FIRST_TROUBLE = 0.1
LONGEST_TROUBLE = 2.0
"""Seconds to wait at most after a fetch that failed, before jitter."""


class Dispatcher:
    """Runs until it is stopped, or with `once` until no job is left that could run now."""

    def __init__(
        self,
        *,
        pool_id: str,
        fetcher: Fetcher,
        crew: Crew,
        recorder: Recorder,
        options: WorkerPoolOptions,
        outage: Outage,
        once: bool,
    ) -> None:
        self._pool_id = pool_id
        self._fetcher = fetcher
        self._crew = crew
        self._recorder = recorder
        self._options = options
        self._outage = outage
        self._once = once
        self._pace = Pace(at=options.clock.monotonic())
        self._more = True
        self._troubles = 0
        self._is_held_up = False
        self._fetching: asyncio.Timeout | None = None
        self._unread: Sequence[Job] = ()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._cut = asyncio.Event()
        self.is_answered = False
        self.cut_by: str | None = None

    def nudge(self, _count: int = 1) -> None:
        """Look for jobs now: some may have been added or freed."""
        self._more = True
        self._wake.set()

    def freed(self) -> None:
        """Look for jobs that were taken and are free again, before others perhaps."""
        self._fetcher.hurry()
        self.nudge()

    def has_room(self) -> None:
        """Hear that a job ended: more may be fetched, if there is more."""
        if self._more or self._once:
            self._wake.set()

    def settled(self, runs: Sequence[Run], lost: bool) -> None:
        """Hear that outcomes are written: a named queue, or a job itself, may be fetched."""
        if lost:
            self._fetcher.is_unsure = True  # its queue may still be locked by this pool
        if (
            self._once
            or self._is_held_up
            or [run for run in runs if run.job.queue_name is not None]
        ):
            self.nudge()
        if [run for run in runs if run.outcome is RELEASED]:
            self.freed()

    def hand_over(self) -> None:
        """Have the jobs run that were fetched last, if they were not read yet."""
        jobs, self._unread = self._unread, ()
        if jobs:
            self._crew.add(jobs)

    def stop(self) -> None:
        """Fetch no more, give back what has not begun, let the rest finish."""
        self._stopping.set()
        self._wake.set()
        if self._fetching is not None and self._fetching.when() is None:
            self._fetching.reschedule(asyncio.get_running_loop().time() + LAST_FETCH)

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
            self.hand_over()
            self._crew.stop()
            self._crew.give_back_waiting()
            await self._drain()

    async def _dispatch(self) -> None:
        while not self._stopping.is_set():
            self._crew.give_back_stale()
            wanted = self._wanted() if self._more else 0
            if not wanted or self._fetcher.is_unsure:
                self.hand_over()
            if wanted:
                if not await self._fill(wanted):
                    return
            elif not await self._pause(self._patience()):
                self._more = True

    def _patience(self) -> timedelta:
        """How long to wait before a look at the database that nobody asked for."""
        longest, due = self._options.poll_interval, self._fetcher.next_look
        if self._more or due is None:
            return longest
        return min(longest, timedelta(seconds=max(0.0, due - self._options.clock.monotonic())))

    def _wanted(self) -> int:
        now = self._options.clock.monotonic()
        self._pace = observed(self._pace, self._crew.finished, now)
        self._crew.finished = 0
        self._is_held_up = self._recorder.is_full
        if self._is_held_up:
            return 0
        return fetch_size(
            concurrency=self._options.concurrency,
            running=len(self._crew.running),
            waiting=self._crew.waiting + len(self._unread),
            ahead=self._ahead(),
        )

    def _ahead(self) -> int:
        return 0 if self._once else look_ahead(self._pace)

    async def _fill(self, wanted: int) -> bool:
        """Fetch up to so many jobs; return whether to go on."""
        self._more = False
        self._tell(WORKER_GET_JOB_START, wanted)
        if self._unread:
            asyncio.get_running_loop().call_soon(self.hand_over)  # when the fetch is on its way
        try:
            jobs = await self._fetch_while_wanted(wanted)
        except Exception as error:  # also what the user's forbidden_flags_fn raises
            return await self._excused(wanted, error)
        self._outage.answered("fetching")
        self.is_answered, self._troubles = True, 0
        self._unread = jobs
        if len(jobs) < MANY:
            self.hand_over()
        if self._fetcher.may_have_more:
            self._more = True
        if not jobs:
            self._tell(WORKER_GET_JOB_EMPTY, wanted)
            return not self._once or await self._once_more()
        return True

    async def _fetch_while_wanted(self, wanted: int) -> Sequence[Job]:
        try:
            async with asyncio.timeout(None) as self._fetching:
                return await self._fetcher.fetch(wanted, of_a_queue=1 + self._ahead())
        finally:
            self._fetching = None

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
        if not self._crew.is_busy and not self._recorder.unsettled:
            if self._fetcher.next_look is not None:
                self._fetcher.hurry()
                self._more = True
            return self._more
        await self._pause(None)
        self._more = True
        return True

    async def _pause(self, limit: timedelta | None) -> bool:
        """Wait until something happens; return False when nothing did within the limit."""
        seconds = None if limit is None else limit.total_seconds()
        if self._crew.waiting:
            seconds = LONGEST_WAIT if seconds is None else min(seconds, LONGEST_WAIT)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def _drain(self) -> None:
        """Let running jobs finish, as long as there is patience; then cut them off."""
        limit = self._options.drain_timeout
        seconds = None if limit is None else limit.total_seconds()
        if not await self._crew.ended(seconds, self._cut):
            await self._cut_off()

    async def _cut_off(self) -> None:
        why = "patience ended" if self.cut_by is None else f"a second {self.cut_by}"
        told = PoolData(pool_id=self._pool_id, message=why)
        self._options.events.emit(POOL_FORCEFUL_SHUTDOWN, told)
        patience = LAST_WORD if self.cut_by is None else LAST_WORD_AT_ONCE
        jobs = await self._crew.cut_off(self._cut_outcome, patience)
        became = "given back" if self._options.drain_action == "release" else "failed"
        raise ShutdownTimeout(jobs, self.cut_by, became)

    def _cut_outcome(self, job: Job) -> Outcome:
        return cut_off(job, self._options.drain_action)

    def _tell(self, event: str, wanted: int, error: BaseException | None = None) -> None:
        data = FetchData(pool_id=self._pool_id, wanted=wanted, error=error)
        self._options.events.emit(event, data)

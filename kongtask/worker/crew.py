"""The workers of one pool: they run jobs that were fetched, each one job at a time.

A worker is an asyncio task that takes job after job, for as long as some wait; another one begins
when a handler has to wait for something. Of a named queue one job runs at a time: the others stand
in its line. It neither fetches jobs nor writes what became of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextvars import copy_context
from dataclasses import replace
from typing import Any

from kongtask.core.attempt import CANCELLED, RELEASED, Outcome, failure
from kongtask.core.control import JobCancelled, JobLost
from kongtask.core.event import JOB_LOST, JOB_START, JobStartData
from kongtask.core.job import Job
from kongtask.core.pacing import LONGEST_WAIT
from kongtask.worker.executor import Executor
from kongtask.worker.options import WorkerPoolOptions
from kongtask.worker.recorder import Recorder
from kongtask.worker.run import Run
from kongtask.worker.stepping import ENDED, begun, rest_of

JOBS_A_TURN = 50
"""Jobs that one worker runs at most before the event loop turns, when none has to wait."""

LONGEST_TURN = 0.005
"""Seconds after which it turns anyway."""


class Crew:
    """Runs jobs that are given to `add`. `on_room` is called when more could be fetched."""

    def __init__(
        self,
        *,
        worker_ids: list[str],
        executor: Executor,
        recorder: Recorder,
        options: WorkerPoolOptions,
        on_room: Callable[[], None],
    ) -> None:
        self._idle = worker_ids
        self._executor = executor
        self._recorder = recorder
        self._options = options
        self._on_room = on_room
        self._waiting: deque[Run] = deque()
        self._lines: dict[str, deque[Run]] = {}
        self._lined = 0
        self._running: dict[int, Run] = {}
        self._is_calling = False
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._wants = options.events.wants
        self.finished = 0
        """How many jobs ended; who looks may set it back."""

    @property
    def running(self) -> list[Job]:
        """The jobs that run now."""
        return [run.job for run in list(self._running.values())]

    @property
    def runs(self) -> list[Run]:
        """The runs that go on now."""
        return list(self._running.values())

    @property
    def waiting(self) -> int:
        """How many jobs are fetched and not started."""
        return len(self._waiting) + self._lined

    @property
    def is_busy(self) -> bool:
        """Whether a job runs or waits to."""
        return bool(self._running or self._waiting)

    @property
    def held(self) -> list[int]:
        """The ids of the jobs that are fetched or run."""
        lined = [run.job.id for line in list(self._lines.values()) for run in list(line)]
        return [*(run.job.id for run in list(self._waiting)), *lined, *list(self._running)]

    def add(self, jobs: Iterable[Job]) -> None:
        """Take jobs, in the order in which they should run."""
        now = self._options.clock.monotonic()
        held = {run.job.id: run for run in self._everyone()}
        for job in jobs:
            going, queue_name = self._running.get(job.id), job.queue_name
            if going is not None:  # others freed it, and here it is again: one run at a time
                self._lose(going)
                going.successor = job
            elif job.id in held:
                self._renew(held[job.id], job, now)
            elif queue_name is None:
                self._waiting.append(Run(job, now))
            elif queue_name in self._lines:
                self._lines[queue_name].append(Run(job, now))
                self._lined += 1
            else:
                self._lines[queue_name] = deque()
                self._waiting.append(Run(job, now))
        self._call()

    def stop(self) -> None:
        """Begin no further job."""
        self._stopping = True

    def cancel(self, job_ids: Collection[int]) -> None:
        """End jobs that somebody cancelled: those that run, and those that wait."""
        for run in self.runs:
            if run.job.id in job_ids:
                self._tell_to_end(run, JobCancelled("cancelled while it ran"))
        self._record(self._taken_out(lambda run: run.job.id in job_ids), CANCELLED)
        self._call()

    def lost(self, job_ids: Collection[int], asked_at: float) -> None:
        """Let go of jobs of which the database said, at that moment, that others may run them."""
        if not job_ids:
            return
        for run in self.runs:
            if run.job.id in job_ids and run.fetched_at <= asked_at:
                self._lose(run)
        self._taken_out(lambda run: run.job.id in job_ids and run.fetched_at <= asked_at)
        self._call()

    def give_back_stale(self) -> None:
        """Give back what was fetched a while ago and not begun: others may have room."""
        oldest = self._options.clock.monotonic() - LONGEST_WAIT
        heads = (each[0].fetched_at for each in (self._waiting, *self._lines.values()) if each)
        if min(heads, default=oldest + 1) <= oldest:
            stale = self._taken_out(lambda run: run.fetched_at <= oldest, whole_lines=True)
            self._record(stale, RELEASED)

    def give_back_waiting(self) -> None:
        """Give back all that was not begun."""
        self._record(self._taken_out(lambda run: True, whole_lines=True), RELEASED)

    async def ended(self, timeout: float | None, or_when: asyncio.Event) -> bool:
        """Return whether all runs have ended, after so many seconds or the event at the latest."""
        waiter = asyncio.ensure_future(or_when.wait())
        tasks = {run.task for run in self._running.values() if run.task is not None}
        try:
            while tasks and not waiter.done():
                done, _ = await asyncio.wait(
                    {*tasks, waiter}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                tasks -= done
        finally:
            waiter.cancel()
        return not self._running

    async def cut_off(self, outcome: Callable[[Job], Outcome], patience: float) -> list[Job]:
        """Cancel what runs, record what does not end in time; return the jobs."""
        runs = self.runs
        self._executor.cut_outcome = outcome
        for run in runs:
            if run.task is not None:
                run.task.cancel()
        tasks = {run.task for run in runs if run.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
        for run in self.runs:
            del self._running[run.job.id]
            run.is_given_up = True
            # Another one is recorded: its handler may still say what became of this one.
            self._end(replace(run, outcome=outcome(run.job)), self._options.clock.monotonic())
        return [run.job for run in runs]

    def job_of(self, task: asyncio.Task[Any]) -> str | None:
        """Name the job that runs in an asyncio task, or None."""
        for run in self.runs:
            if run.task is task:
                return f"{run.job.task_identifier} (job {run.job.id})"
        return None

    def _call(self) -> None:
        """Let another worker begin, if there is work for one."""
        if self._waiting and self._idle and not self._is_calling and not self._stopping:
            self._is_calling = True
            task = asyncio.get_running_loop().create_task(self._work(self._idle.pop()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self, worker_id: str) -> None:
        """Run jobs until none waits."""
        self._is_calling = False
        task = asyncio.current_task()
        assert task is not None
        try:
            while self._waiting and not self._stopping:
                await self._turn(worker_id, task)
                if task.cancelling():
                    return  # a fresh task goes on: no later job is to hear of it
                if self._waiting:
                    await asyncio.sleep(0)
        finally:
            self._idle.append(worker_id)
            self._call()

    async def _turn(self, worker_id: str, task: asyncio.Task[None]) -> None:
        """Run jobs until none waits or it is time that the event loop turns."""
        monotonic, waiting, running = self._options.clock.monotonic, self._waiting, self._running
        execute, is_heard = self._executor.way(), self._wants(JOB_START)
        now = monotonic()
        until = now + LONGEST_TURN
        for _ in range(JOBS_A_TURN):
            run = waiting.popleft()
            run.worker_id, run.task, run.at = worker_id, task, now
            running[run.job.id] = run
            if is_heard:
                told = JobStartData(worker_id=worker_id, job=run.job)
                self._options.events.emit(JOB_START, told)
            coroutine, context = execute(run), copy_context()
            try:
                waits_for = begun(coroutine, context)
                if waits_for is not ENDED:
                    self._call()
                    await rest_of(coroutine, context, waits_for)
            except Exception as error:  # nothing that should: no job is to stay in here for it
                run.outcome = failure(run.job, error)
            now = monotonic()
            if not run.is_given_up:
                del running[run.job.id]
                self._end(run, now)
                if run.is_lost:
                    now = monotonic()  # whoever hears of it may have taken a while
            if not waiting or now > until or task.cancelling() or self._stopping:
                return

    def _end(self, run: Run, now: float) -> None:
        run.seconds = now - run.at
        if run.is_lost:
            self._recorder.forfeit(run)
        else:
            self._recorder.record(run)
        self.finished += 1
        if run.successor is not None:
            self._waiting.append(Run(run.successor, now))
        elif run.job.queue_name is not None:
            self._advance(run.job.queue_name)
        self._on_room()

    def _advance(self, queue_name: str) -> None:
        """Let the next of a line be run."""
        line = self._lines[queue_name]
        if line:
            self._waiting.append(line.popleft())
            self._lined -= 1
        else:
            del self._lines[queue_name]

    def _lose(self, run: Run) -> None:
        if run.is_lost:
            return
        run.is_lost = True
        self._options.logger.warn(
            f"the lock of job {run.job.id} was lost while it ran: its handler is told to end",
            {"job": run.job.id, "task": run.job.task_identifier},
        )
        told = JobStartData(worker_id=run.worker_id, job=run.job)
        self._options.events.emit(JOB_LOST, told)
        self._tell_to_end(run, JobLost("the job's lock was lost: others may run it"))

    def _tell_to_end(self, run: Run, reason: Exception) -> None:
        run.reason = run.reason or reason
        if run.task is not None and self._executor.is_cancellable(run.job):
            run.task.cancel()

    def _taken_out(
        self, condition: Callable[[Run], bool], *, whole_lines: bool = False
    ) -> list[Run]:
        """Take out what waits; `whole_lines`: with all that stand in line with or behind one.

        Whoever gives jobs back must not keep those of the same queue that come after them.
        """
        everyone = self._everyone()
        out = {run for run in everyone if condition(run)}
        if whole_lines:
            queues = {run.job.queue_name for run in out} - {None}
            out.update(run for run in everyone if run.job.queue_name in queues)
        if not out:
            return []
        heads = [run.job.queue_name for run in self._waiting if run in out]
        for each in (self._waiting, *self._lines.values()):
            kept = [run for run in each if run not in out]
            each.clear()
            each.extend(kept)
        self._lined = sum(map(len, self._lines.values()))
        for queue_name in heads:
            if queue_name is not None:
                self._advance(queue_name)
        return [run for run in everyone if run in out]

    def _everyone(self) -> list[Run]:
        """All that waits, those that stand in line last."""
        return [*self._waiting, *(run for line in self._lines.values() for run in line)]

    def _renew(self, run: Run, job: Job, now: float) -> None:
        """Have a job wait once that others freed, and that was fetched again while it waited."""
        if run.job.queue_name == job.queue_name:
            run.job, run.fetched_at = job, now
        else:
            self._taken_out(lambda each: each is run)
            self.add([job])

    def _record(self, runs: Iterable[Run], outcome: Outcome) -> None:
        """Have it written that nothing else becomes of runs that did not begin."""
        for run in runs:
            run.outcome = outcome
            self._recorder.record(run)

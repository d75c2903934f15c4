"""Writes what became of jobs, many at a time, until the database has taken it.

While one batch is written the next one gathers. A batch that fails is tried again; one that the
database refuses, that clashes again, or in which somebody else holds a row, is halved until the job
at fault stands alone. Nothing is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from kongtask.clock import Clock
from kongtask.core.attempt import OutcomeKind
from kongtask.errors import ConfigurationError, StoreUnavailable
from kongtask.logger import Logger
from kongtask.postgres.jobs import Failure, JobStore
from kongtask.postgres.session import Clash, RowHeld
from kongtask.worker.outage import Outage
from kongtask.worker.run import Run

FIRST_DELAY = 0.1
LONGEST_DELAY = 2.0
"""Seconds between two tries of one batch, at most, before jitter."""

REFUSED_DELAY = 5.0
"""Seconds until an outcome that the database refused is tried again, before jitter."""

MOST_AT_ONCE = 1000

GATHERING = 0.004
"""Seconds after a write in which the next batch gathers: fewer and larger ones cost much less."""

BUSY = 30
"""Outcomes from which on a batch gathers although one of them keeps a named queue locked."""

MOST_UNSETTLED = 2 * MOST_AT_ONCE
"""Outcomes that wait to be written from which on no further jobs should be fetched."""


OnSettled = Callable[[Sequence[Run], bool], None]
"""Hears of runs whose outcomes the database has; with true, of runs whose jobs were others'."""


class Recorder:
    """Takes runs with `record`; `on_settled` hears when they are written."""

    def __init__(
        self,
        *,
        store: JobStore,
        logger: Logger,
        clock: Clock,
        outage: Outage,
        on_settled: OnSettled,
    ) -> None:
        self._store = store
        self._logger = logger
        self._clock = clock
        self._outage = outage
        self._on_settled = on_settled
        self._pending: list[Run] = []
        self._writing: list[Run] = []
        self._refused: list[Run] = []
        self._held: set[int] = set()
        self._written_at = 0.0
        self._is_awaited = False
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def record(self, run: Run) -> None:
        """Take note of a run; it is written soon."""
        if not self._pending:
            self._idle.clear()
            self._changed.set()
        self._pending.append(run)
        if run.job.queue_name is not None:
            self._is_awaited = True

    def forfeit(self, run: Run) -> None:
        """Take note of a run whose job is others' now; nothing is written."""
        self._settle([], [run])

    @property
    def unsettled(self) -> list[Run]:
        """The runs that are not written yet."""
        return [*self._pending, *self._writing, *self._refused]

    @property
    def is_full(self) -> bool:
        """Whether so many outcomes wait that no further jobs should be fetched."""
        waiting = len(self._pending) + len(self._writing) + len(self._refused)
        return waiting >= MOST_UNSETTLED

    async def settled(self) -> None:
        """Return when everything is written."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write batches until cancelled."""
        async with asyncio.TaskGroup() as retries:
            while True:
                await self._changed.wait()
                self._changed.clear()
                while self._pending:
                    await self._gather()
                    await self._write_next(retries)
                if not self._refused:
                    self._idle.set()

    async def _gather(self) -> None:
        """Leave a batch some time to grow, unless the last one was written some time ago."""
        rest = self._written_at + GATHERING - self._clock.monotonic()
        is_awaited = self._is_awaited and len(self._pending) < BUSY
        if rest > 0 and len(self._pending) < MOST_AT_ONCE and not is_awaited:
            await asyncio.sleep(rest)

    async def _write_next(self, retries: asyncio.TaskGroup) -> None:
        self._writing = self._pending[:MOST_AT_ONCE]
        self._is_awaited = False
        del self._pending[:MOST_AT_ONCE]
        for kinds, write in _WRITES:
            runs = [run for run in self._writing if run.outcome.kind in kinds]
            if runs:
                await self._write(write, runs, retries)
            if len(runs) == len(self._writing):
                break  # as a rule all have succeeded
        self._writing = []
        self._written_at = self._clock.monotonic()

    async def _write(self, write: _Write, runs: Sequence[Run], retries: asyncio.TaskGroup) -> None:
        try:
            held, sure = await self._written(write, runs)
        except Exception as error:  # such as what a trigger raises, a check violation included
            self._outage.answered("recording")
            if len(runs) == 1:
                self._refused.append(runs[0])
                retries.create_task(self._again(runs[0], error))
                return
            middle = len(runs) // 2
            await self._write(write, runs[:middle], retries)
            await self._write(write, runs[middle:], retries)
            return
        if not sure or len(held) == len(runs):
            self._settle(runs, [])
            return
        kept = [run for run in runs if run.job.id in held]
        self._settle(kept, [run for run in runs if run.job.id not in held])

    async def _written(self, write: _Write, runs: Sequence[Run]) -> tuple[set[int], bool]:
        """Return the ids that were written, and whether a missing one is sure to be lost.

        When an answer got lost, the batch may have been written although it was tried again.
        """
        delay, sure = FIRST_DELAY, True
        while True:
            try:
                written = await write(self._store, runs)
                self._outage.answered("recording")
                return written, sure
            except RowHeld:
                raise
            except Clash as error:
                if len(runs) > 1 and delay > FIRST_DELAY:
                    raise  # so many rows may clash with somebody each time
                self._outage.trouble("recording", error)
            except (StoreUnavailable, ConfigurationError) as error:
                self._outage.trouble("recording", error)
                sure = False
            await self._clock.sleep(delay * self._clock.jitter())
            delay = min(LONGEST_DELAY, delay * 2)

    async def _again(self, run: Run, error: Exception) -> None:
        self._tell(run, error)
        await self._clock.sleep(REFUSED_DELAY * self._clock.jitter())
        self._refused.remove(run)
        self.record(run)

    def _tell(self, run: Run, error: Exception) -> None:
        job = run.job.id
        if not isinstance(error, RowHeld):
            self._logger.error(
                f"the outcome of job {job} was refused, it will be tried again: {error}",
                {"job": job, "exception": error},
            )
        elif job not in self._held:
            self._held.add(job)
            self._logger.warn(
                f"the outcome of job {job} waits: another transaction holds its row", {"job": job}
            )

    def _settle(self, written: Sequence[Run], lost: Sequence[Run]) -> None:
        for run in lost:
            self._logger.warn(
                f"job {run.job.id} was taken over by others before its run was recorded",
                {"job": run.job.id, "task": run.job.task_identifier},
            )
        if self._held:
            self._held.difference_update(run.job.id for run in (*written, *lost))
        if written:
            self._on_settled(written, False)
        if lost:
            self._on_settled(lost, True)


_Write = Callable[[JobStore, Sequence[Run]], Awaitable[set[int]]]


async def _complete(store: JobStore, runs: Sequence[Run]) -> set[int]:
    queued = [run for run in runs if run.job.queue_name is not None]
    return await store.complete([run.job.id for run in runs], have_queues=bool(queued))


async def _fail(store: JobStore, runs: Sequence[Run]) -> set[int]:
    return await store.fail([_failure(run) for run in runs])


def _failure(run: Run) -> Failure:
    outcome = run.outcome
    return Failure(
        job_id=run.job.id,
        error=outcome.message,
        when=outcome.when,
        is_final=outcome.kind == "failed",
        payload_json=outcome.payload_json,
    )


async def _snooze(store: JobStore, runs: Sequence[Run]) -> set[int]:
    return await store.snooze([(run.job.id, run.outcome.when or timedelta()) for run in runs])


async def _give_back(store: JobStore, runs: Sequence[Run]) -> set[int]:
    return await store.give_back([run.job.id for run in runs])


_WRITES: tuple[tuple[frozenset[OutcomeKind], _Write], ...] = (
    (frozenset({"success"}), _complete),
    (frozenset({"retry", "failed"}), _fail),
    (frozenset({"snoozed"}), _snooze),
    (frozenset({"released"}), _give_back),
)

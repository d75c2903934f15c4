"""Tells whoever listens what becomes of a pool, its workers and its jobs. It decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kongtask.core.event import (
    JOB_COMPLETE,
    JOB_ERROR,
    JOB_FAILED,
    JOB_SUCCESS,
    LOCKS_FREED,
    POOL_LISTEN_ERROR,
    POOL_LISTEN_SUCCESS,
    FreedData,
    JobCompleteData,
    PoolData,
    PoolErrorData,
    WorkerCreateData,
)
from kongtask.core.unfrozen import unfrozen
from kongtask.core.wording import counted
from kongtask.errors import StoreUnavailable
from kongtask.postgres.life import Freed
from kongtask.worker.options import WorkerPoolOptions
from kongtask.worker.run import Run

DEAF = 3
"""Failures in a row of LISTEN, while the database answers, that are worth a word."""

_REASONS = {
    "gone": "it has died, and its database session with it",
    "silent": "it has not beaten for four times its recovery time, stopped or cut off",
    "stale": "a worker of Graphile's locked them more than four hours ago",
}

_OpenData = unfrozen(JobCompleteData)

_EVENTS = {
    "success": (JOB_SUCCESS, JOB_COMPLETE),
    "retry": (JOB_ERROR, JOB_COMPLETE),
    "failed": (JOB_ERROR, JOB_FAILED, JOB_COMPLETE),
    "snoozed": (JOB_COMPLETE,),
    "released": (JOB_COMPLETE,),
}


class Announcer:
    """Emits events and logs for one pool of workers."""

    def __init__(self, pool_id: str, worker_ids: Sequence[str], options: WorkerPoolOptions) -> None:
        self._pool_id = pool_id
        self._worker_ids = tuple(worker_ids)
        self._events = options.events
        self._logger = options.logger
        self._deaf = 0

    def pool(self, event: str, message: str = "") -> None:
        """Tell of the pool itself."""
        self._events.emit(event, PoolData(pool_id=self._pool_id, message=message))

    def workers(self, event: str) -> None:
        """Tell of each worker."""
        for worker_id in self._worker_ids:
            self._events.emit(event, WorkerCreateData(worker_id=worker_id))

    def settled(self, runs: Sequence[Run], lost: bool) -> None:
        """Tell of runs whose outcomes are written, or were others' to write."""
        wants = self._events.wants
        told = {kind: [each for each in names if wants(each)] for kind, names in _EVENTS.items()}
        if any(told.values()):
            for run in runs:
                self._tell(run, lost, told[run.outcome.kind])

    def freed(self, freed: Iterable[Freed]) -> None:
        """Tell of locks of other pools that were freed."""
        for each in freed:
            self._logger.warn(
                f"freed {counted(each.jobs, 'job')} of {each.pool_id}: {_REASONS[each.reason]}",
                {"pool": each.pool_id, "jobs": each.jobs, "reason": each.reason},
            )
            data = FreedData(pool_id=each.pool_id, jobs=each.jobs, reason=each.reason)
            self._events.emit(LOCKS_FREED, data)

    def unwritten(self, jobs: int) -> None:
        """Tell of jobs whose outcomes the pool leaves unwritten."""
        if jobs:
            self._logger.error(f"outcomes of {counted(jobs, 'job')} could not be written")

    def listening(self, trouble: str | None, *, is_away: bool) -> None:
        """Tell that the pool listens, or why it does not; an outage has its own words."""
        error = None if trouble is None else StoreUnavailable(trouble)
        event = POOL_LISTEN_SUCCESS if error is None else POOL_LISTEN_ERROR
        self._events.emit(event, PoolErrorData(pool_id=self._pool_id, error=error))
        self._deaf = 0 if error is None else self._deaf + 1
        if self._deaf == DEAF and not is_away:
            self._logger.warn(f"not listening for new jobs, polling meanwhile: {trouble}")

    def _tell(self, run: Run, lost: bool, names: Sequence[str]) -> None:
        if not run.worker_id or not names:
            return  # it was never started, or nobody listens
        data = _OpenData()
        data.worker_id, data.job, data.seconds = run.worker_id, run.job, run.seconds
        data.outcome, data.error, data.lost = run.outcome, run.outcome.error, lost
        data.__class__ = JobCompleteData
        for event in names:
            self._events.emit(event, data)

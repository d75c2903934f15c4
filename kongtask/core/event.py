"""The events that a pool of workers emits: their names and what each carries.

Names are Graphile Worker's. An event says what happened; nothing waits for who hears it.
"""

from __future__ import annotations

from dataclasses import dataclass

from kongtask.core.attempt import Outcome
from kongtask.core.job import Job

WORKER_CREATE = "worker:create"
"""A worker, one of a pool's slots, is ready. Carries `WorkerCreateData`."""
WORKER_RELEASE = "worker:release"
"""A worker takes no more jobs. Carries `WorkerCreateData`."""
WORKER_STOP = "worker:stop"
"""A worker has ended. Carries `WorkerCreateData`."""
WORKER_GET_JOB_START = "worker:getJob:start"
"""The pool asks for jobs. Carries `FetchData`."""
WORKER_GET_JOB_ERROR = "worker:getJob:error"
"""Asking for jobs failed. Carries `FetchData` with the error."""
WORKER_GET_JOB_EMPTY = "worker:getJob:empty"
"""There were no jobs. Carries `FetchData`."""

JOB_START = "job:start"
"""A run begins. Carries `JobStartData`."""
JOB_COMPLETE = "job:complete"
"""A run ended, however it did, and that is written. Carries `JobCompleteData`."""
JOB_SUCCESS = "job:success"
"""A run succeeded. Carries `JobCompleteData`."""
JOB_ERROR = "job:error"
"""A run failed. Carries `JobCompleteData` with the error."""
JOB_FAILED = "job:failed"
"""A run failed, and the job is not tried again. Carries `JobCompleteData` with the error."""

POOL_CREATE = "pool:create"
"""A pool begins to work. Carries `PoolData`."""
POOL_LISTEN_SUCCESS = "pool:listen:success"
"""The pool hears of new jobs by NOTIFY. Carries `PoolErrorData`."""
POOL_LISTEN_ERROR = "pool:listen:error"
"""The pool cannot listen and polls meanwhile. Carries `PoolErrorData` with the error."""
POOL_GRACEFUL_SHUTDOWN = "pool:gracefulShutdown"
"""The pool ends when its running jobs have. Carries `PoolData` with the reason."""
POOL_RELEASE = "pool:release"
"""The pool has ended. Carries `PoolData` with the reason."""
POOL_GRACEFUL_SHUTDOWN_COMPLETE = "pool:gracefulShutdown:complete"
"""Every running job ended by itself. Carries `PoolData` with the reason."""
POOL_FORCEFUL_SHUTDOWN = "pool:forcefulShutdown"
"""Running jobs are cut off: patience ended, or a second signal came. Carries `PoolData`."""
STOP = "stop"
"""The pool was told to end. Carries `PoolData` with the reason."""

DATABASE_LOST = "database:lost"
"""PostgreSQL gave no answer; running jobs run on. Carries `OutageData` with the error."""
DATABASE_BACK = "database:back"
"""PostgreSQL answers again. Carries `OutageData` with how long it was away."""
LOCKS_FREED = "locks:freed"
"""The pool freed what another one had locked. Carries `FreedData`."""
JOB_LOST = "job:lost"
"""A running job is this pool's no longer; its handler was told to end. Carries `JobStartData`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolData:
    """`pool:create`, `pool:gracefulShutdown`, `pool:release` and `stop`: which pool, and why.

    pool_id: the name under which the pool locks jobs.
    message: why it ends, such as "released" or "SIGTERM"; empty when it begins.

    >>> PoolData(pool_id="pool-1").message
    ''
    """

    pool_id: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolErrorData:
    """`pool:listen:success` and `pool:listen:error`.

    pool_id: the name under which the pool locks jobs.
    error: None when it went well.

    >>> PoolErrorData(pool_id="pool-1").error is None
    True
    """

    pool_id: str
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageData:
    """`database:lost` and `database:back`.

    pool_id: the name under which the pool locks jobs.
    error: what was said when the answer failed; None when it is back.
    seconds: how long it was away; 0 when it was lost.

    >>> OutageData(pool_id="pool-1", seconds=2.5).error is None
    True
    """

    pool_id: str
    error: BaseException | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FreedData:
    """`locks:freed`: whose jobs were freed, and why.

    pool_id: the pool that had locked them.
    jobs: how many jobs were freed.
    reason: "gone" when its session had ended, "silent" when it stood and the pool had not beaten
        for four times its recovery time, "stale" when a worker of Graphile's had locked them
        more than four hours ago.

    >>> FreedData(pool_id="pool-1", jobs=3, reason="gone").jobs
    3
    """

    pool_id: str
    jobs: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCreateData:
    """`worker:create`, `worker:release` and `worker:stop`.

    worker_id: name of the worker, one of `concurrency` in the pool.

    >>> WorkerCreateData(worker_id="worker-1").worker_id
    'worker-1'
    """

    worker_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchData:
    """`worker:getJob:start`, `:empty` and `:error`: one fetch for all workers of a pool.

    pool_id: the name under which the pool locks jobs.
    wanted: how many jobs were asked for.
    error: why it failed; None unless it did.

    >>> FetchData(pool_id="pool-1", wanted=4).wanted
    4
    """

    pool_id: str
    wanted: int
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStartData:
    """`job:start`.

    worker_id: name of the worker that runs the job.
    job: the row as it was fetched; `attempts` counts this run.

    >>> from datetime import UTC, datetime
    >>> from kongtask import EventBus
    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> job = Job(id=7, task_identifier="mail", run_at=now, created_at=now, updated_at=now)
    >>> bus = EventBus()
    >>> bus.on(JOB_START, lambda data: print(data.job.task_identifier, data.worker_id))
    >>> bus.emit(JOB_START, JobStartData(worker_id="worker-1", job=job))
    mail worker-1
    """

    worker_id: str
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCompleteData:
    """`job:success`, `job:error`, `job:failed` and `job:complete`, when the outcome is written.

    worker_id: name of the worker that ran the job.
    job: the row as it was fetched.
    error: what the handler raised; None after success.
    outcome: its `kind` is success, retry, failed, snoozed or released.
    seconds: how long the handler ran.
    lost: another pool had taken the job meanwhile, so nothing was written.

    >>> from datetime import UTC, datetime
    >>> from kongtask.core.attempt import SUCCESS
    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> job = Job(id=7, task_identifier="mail", run_at=now, created_at=now, updated_at=now)
    >>> data = JobCompleteData(worker_id="worker-1", job=job, outcome=SUCCESS, seconds=0.2)
    >>> data.error, data.outcome.kind
    (None, 'success')
    """

    worker_id: str
    job: Job
    error: BaseException | None = None
    outcome: Outcome
    seconds: float
    lost: bool = False

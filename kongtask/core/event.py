"""The events that a pool of workers emits: their names and what each carries.

Names are Graphile Worker's. An event says what happened; nothing waits for who hears it.
"""

from __future__ import annotations

from dataclasses import dataclass

from kongtask.core.attempt import Outcome
from kongtask.core.job import Job

WORKER_CREATE = "worker:create"
WORKER_RELEASE = "worker:release"
WORKER_STOP = "worker:stop"
WORKER_GET_JOB_START = "worker:getJob:start"
WORKER_GET_JOB_ERROR = "worker:getJob:error"
WORKER_GET_JOB_EMPTY = "worker:getJob:empty"

JOB_START = "job:start"
JOB_COMPLETE = "job:complete"
JOB_SUCCESS = "job:success"
JOB_ERROR = "job:error"
JOB_FAILED = "job:failed"

POOL_CREATE = "pool:create"
POOL_LISTEN_SUCCESS = "pool:listen:success"
POOL_LISTEN_ERROR = "pool:listen:error"
POOL_GRACEFUL_SHUTDOWN = "pool:gracefulShutdown"
POOL_RELEASE = "pool:release"
STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolData:
    """`pool:create`, `pool:gracefulShutdown`, `pool:release` and `stop`: which pool, and why."""

    pool_id: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolErrorData:
    """`pool:listen:success` and `pool:listen:error`: the error is None when it went well."""

    pool_id: str
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCreateData:
    """`worker:create`, `worker:release` and `worker:stop`."""

    worker_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchData:
    """`worker:getJob:start`, `:empty` and `:error`: one fetch for all workers of a pool.

    wanted: how many jobs were asked for.
    """

    pool_id: str
    wanted: int
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStartData:
    """`job:start`."""

    worker_id: str
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCompleteData:
    """`job:success`, `job:error`, `job:failed` and `job:complete`.

    They are emitted when the outcome is written. `error` is None after success; `seconds` is how
    long the job ran. `lost`: another pool had taken the job meanwhile, so nothing was written.
    """

    worker_id: str
    job: Job
    error: BaseException | None = None
    outcome: Outcome
    seconds: float
    lost: bool = False

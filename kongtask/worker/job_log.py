"""Says in the log what becomes of jobs, one line each. A subscriber of events like any other."""

from __future__ import annotations

from datetime import timedelta

from kongtask.core.event import (
    JOB_COMPLETE,
    JOB_START,
    POOL_GRACEFUL_SHUTDOWN,
    POOL_RELEASE,
    JobCompleteData,
    JobStartData,
    PoolData,
)
from kongtask.logger import Logger
from kongtask.worker.event_bus import EventBus


def log_jobs(events: EventBus, logger: Logger) -> None:
    """Log the start and the end of every run, and the pool's end."""
    is_on = getattr(logger, "is_on", lambda level: True)

    def started(data: JobStartData) -> None:
        logger.debug(f"started {_name(data)}", _facts(data))

    def ended(data: JobCompleteData) -> None:
        if data.outcome.kind == "success" and not is_on("info"):
            return  # nobody reads what would take longer to write than the job took
        facts = {**_facts(data), "outcome": data.outcome.kind, "seconds": round(data.seconds, 4)}
        took = _duration(data.seconds)
        match data.outcome.kind:
            case "success":
                logger.info(f"completed {_name(data)} in {took}", facts)
            case "snoozed":
                logger.info(f"{data.outcome.message}: {_name(data)}", facts)
            case "released":
                logger.warn(f"gave back {_name(data)} after {took}", facts)
            case "retry":
                wait = _duration((data.outcome.retry_delay or timedelta()).total_seconds())
                logger.error(
                    f"failed {_name(data)} after {took}, {_attempt(data)}, again in {wait}: "
                    f"{data.outcome.message}",
                    {**facts, "exception": data.error},
                )
            case "failed":
                logger.error(
                    f"failed {_name(data)} after {took} for good, {_attempt(data)}: "
                    f"{data.outcome.message}",
                    {**facts, "exception": data.error},
                )

    def draining(data: PoolData) -> None:
        logger.info(f"draining: {data.message}", {"pool": data.pool_id})

    def left(data: PoolData) -> None:
        logger.info("stopped", {"pool": data.pool_id})

    if is_on("debug"):
        events.on(JOB_START, started)
    events.on(JOB_COMPLETE, ended)
    events.on(POOL_GRACEFUL_SHUTDOWN, draining)
    events.on(POOL_RELEASE, left)


def _name(data: JobStartData | JobCompleteData) -> str:
    return f"{data.job.task_identifier} (job {data.job.id})"


def _attempt(data: JobCompleteData) -> str:
    return f"attempt {data.job.attempts} of {data.job.max_attempts}"


def _facts(data: JobStartData | JobCompleteData) -> dict[str, object]:
    job = data.job
    return {"task": job.task_identifier, "job": job.id, "attempt": job.attempts}


def _duration(seconds: float) -> str:
    """Return a duration for people.

    >>> _duration(0.0314), _duration(2.718), _duration(403.4)
    ('31 ms', '2.7 s', '6 min 43 s')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"

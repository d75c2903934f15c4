"""Counts what a pool of workers does, for Prometheus. It hears events and decides nothing.

Labels are tasks and outcomes only: job ids, keys and queues would have no end.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kongtask.core.event import (
    DATABASE_BACK,
    DATABASE_LOST,
    JOB_COMPLETE,
    LOCKS_FREED,
    WORKER_GET_JOB_ERROR,
    FetchData,
    FreedData,
    JobCompleteData,
    OutageData,
)
from kongtask.worker.event_bus import EventBus
from kongtask.worker.pool import WorkerPool

_SECONDS = (0.005, 0.025, 0.1, 0.5, 1, 5, 30, 60, 300, 900, 3600)


def worker_metrics(events: EventBus, pool: WorkerPool, concurrency: int) -> CollectorRegistry:
    """Return a registry that follows a pool's events."""
    registry = CollectorRegistry()
    jobs = Counter("kongtask_jobs", "Runs of jobs.", ["task", "outcome"], registry=registry)
    seconds = Histogram(
        "kongtask_job_duration_seconds",
        "How long a run took.",
        ["task"],
        buckets=_SECONDS,
        registry=registry,
    )
    troubles = Counter("kongtask_fetch_errors", "Fetches that failed.", registry=registry)
    gauges = {
        "kongtask_jobs_running": ("Jobs that run now.", lambda: len(pool.running)),
        "kongtask_jobs_waiting": ("Jobs fetched and not started.", lambda: pool.waiting),
        "kongtask_concurrency": ("Jobs that may run at the same time.", lambda: concurrency),
    }
    for name, (text, read) in gauges.items():
        Gauge(name, text, registry=registry).set_function(read)

    def ended(data: JobCompleteData) -> None:
        task = data.job.task_identifier
        jobs.labels(task, "lost" if data.lost else data.outcome.kind).inc()
        seconds.labels(task).observe(data.seconds)

    def failed(_: FetchData) -> None:
        troubles.inc()

    events.on(JOB_COMPLETE, ended)
    events.on(WORKER_GET_JOB_ERROR, failed)
    _count_failures(events, registry)
    return registry


def _count_failures(events: EventBus, registry: CollectorRegistry) -> None:
    """Count outages of the database and the jobs of others that were freed."""
    outages = Counter("kongtask_outages", "Times the database was away.", registry=registry)
    away = Counter(
        "kongtask_outage_seconds", "How long the database was away, in all.", registry=registry
    )
    locks = Counter(
        "kongtask_jobs_freed",
        "Jobs that other pools had locked and that were freed, by reason.",
        ["reason"],
        registry=registry,
    )

    def lost(_: OutageData) -> None:
        outages.inc()

    def back(data: OutageData) -> None:
        away.inc(data.seconds)

    def freed(data: FreedData) -> None:
        locks.labels(data.reason).inc(data.jobs)

    events.on(DATABASE_LOST, lost)
    events.on(DATABASE_BACK, back)
    events.on(LOCKS_FREED, freed)

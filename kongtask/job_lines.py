"""How jobs look on a terminal and to a program. Only command lines use it."""

from __future__ import annotations

from datetime import datetime

from kongtask.core.job import Job


def job_line(job: Job) -> str:
    """Return what matters about a job on one line."""
    error = f": {job.last_error.splitlines()[0][:100]}" if job.last_error else ""
    return (
        f"job {job.id} ({job.task_identifier}), attempt {job.attempts} of {job.max_attempts}, "
        f"run_at {job.run_at:%Y-%m-%d %H:%M:%S} UTC{error}"
    )


def when_due(job: Job) -> str:
    """Return "now", or the moment before which the job does not run."""
    waits = job.run_at > job.updated_at
    return f"at {job.run_at:%Y-%m-%d %H:%M:%S} UTC" if waits else "now"


def job_as_json(job: Job) -> dict[str, object]:
    """Return the job as JSON can hold it, times as ISO 8601."""

    def plain(value: object) -> object:
        return value.isoformat() if isinstance(value, datetime) else value

    names = (
        "id", "task_identifier", "payload", "queue_name", "priority", "run_at", "attempts",
        "max_attempts", "last_error", "key", "revision", "flags", "created_at", "locked_by",
    )  # fmt: skip
    return {name: plain(getattr(job, name)) for name in names}

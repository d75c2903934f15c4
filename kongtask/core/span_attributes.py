"""What a span says of a job, by the names of OpenTelemetry's messaging conventions.

The conventions are still in development: every name that follows them stands in here. Absent
options are left out, and so is the payload.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TypeAlias

from kongtask.core.job import Job
from kongtask.core.redaction import shortened
from kongtask.core.task_spec import TaskSpec

Value: TypeAlias = str | int | float
Attributes: TypeAlias = dict[str, Value | Sequence[str]]

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
SYSTEM_NAME = "messaging.system"
SYSTEM = "kongtask"
MESSAGE_ID = "messaging.message.id"
BATCH_COUNT = "messaging.batch.message_count"

MAX_TASKS = 10
"""How many tasks of a batch its span names."""

MAX_FLAGS = 32
"""How many of a job's flags its span names."""


def adding_one(task: str, spec: TaskSpec) -> Attributes:
    """Return what the span that adds one job says."""
    given: dict[str, Value | None] = {
        "kongtask.job.priority": spec.priority,
        "kongtask.job.max_attempts": spec.max_attempts,
        "kongtask.job.queue_name": spec.queue_name and shortened(spec.queue_name),
        "kongtask.job.key": spec.job_key and shortened(spec.job_key),
        "kongtask.job.key_mode": spec.job_key and (spec.job_key_mode or "replace"),
    }
    present = {name: value for name, value in given.items() if value is not None}
    return _operation("add_job", "send", task) | present


def adding_many(tasks: Sequence[str]) -> Attributes:
    """Return what the span that adds a batch says; a destination only when there is one."""
    names = [shortened(task) for task in dict.fromkeys(tasks)]
    attributes = _operation("add_jobs", "send", names[0] if len(names) == 1 else None)
    attributes[BATCH_COUNT] = len(tasks)
    attributes["kongtask.job.tasks"] = names[:MAX_TASKS]
    return attributes


def attempt(job: Job) -> Attributes:
    """Return what the span of an attempt begins with: what samplers may decide by."""
    attributes = _processing(job.task_identifier).copy()
    attributes[MESSAGE_ID] = str(job.id)
    attributes["kongtask.job.attempt"] = job.attempts
    if job.queue_name is not None:
        attributes["kongtask.job.queue_name"] = shortened(job.queue_name)
    return attributes


def circumstances(job: Job, worker_id: str, now: datetime) -> Attributes:
    """Return what the span of an attempt says besides, if it is kept."""
    attributes: Attributes = {
        "messaging.client.id": shortened(worker_id),
        "kongtask.job.max_attempts": job.max_attempts,
        "kongtask.job.priority": job.priority,
        "kongtask.job.wait_s": seconds(now - job.run_at),
        "kongtask.job.age_s": seconds(now - job.created_at),
    }
    if job.key is not None:
        attributes["kongtask.job.key"] = shortened(job.key)
    if job.flags:
        attributes["kongtask.job.flags"] = [shortened(flag) for flag in job.flags[:MAX_FLAGS]]
    return attributes


def span_name(attributes: Attributes) -> str:
    """Return the name of a span that has these attributes."""
    operation = str(attributes["messaging.operation.name"])
    destination = attributes.get("messaging.destination.name")
    return operation if destination is None else f"{operation} {destination}"


def seconds(duration: timedelta) -> float:
    """Return the duration in seconds, never less than none: clocks differ."""
    return max(0.0, round(duration.total_seconds(), 3))


@lru_cache(maxsize=256)
def _processing(task: str) -> Attributes:
    return _operation("process", "process", task)


def _operation(name: str, kind: str, task: str | None) -> Attributes:
    attributes: Attributes = {
        SYSTEM_NAME: SYSTEM,
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
    }
    if task is not None:
        attributes["messaging.destination.name"] = shortened(task)
    return attributes

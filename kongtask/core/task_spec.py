"""What may be said about a job when it is added, and the rules it must keep.

The limits are those of Graphile Worker's tables; checking them here gives the same error for one
job and for a thousand, before anything is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from kongtask.errors import (
    InvalidJob,
    InvalidJobKeyMode,
    InvalidMaxAttempts,
    JobKeyTooLong,
    QueueNameTooLong,
    TaskIdentifierTooLong,
)

JobKeyMode = Literal["replace", "preserve_run_at", "unsafe_dedupe"]

MAX_IDENTIFIER = 128
MAX_QUEUE_NAME = 128
MAX_JOB_KEY = 512
SMALLINT_MAX = 32767


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """How a job is to be run. Every option left at None takes the documented default.

    queue_name: jobs of one queue run one after the other, in any worker; at most 128 characters.
    run_at: not before this moment (aware datetime); default now.
    priority: lower runs first; default 0, from -32768 to 32767.
    max_attempts: how often it may run before it is failed for good; default 25, at least 1.
    job_key: a name unique among waiting jobs; adding it again changes the job. 1 to 512 characters.
    job_key_mode: "replace" (default), "preserve_run_at" or "unsafe_dedupe".
    flags: labels that a worker may refuse by its forbidden flags.

    >>> TaskSpec(queue_name="mail", max_attempts=3).max_attempts
    3
    """

    queue_name: str | None = None
    run_at: datetime | None = None
    priority: int | None = None
    max_attempts: int | None = None
    job_key: str | None = None
    job_key_mode: JobKeyMode | None = None
    flags: tuple[str, ...] | list[str] | None = None


DEFAULT_SPEC = TaskSpec()


def check_job(task: str, spec: TaskSpec, position: int | None = None) -> None:
    """Raise the `InvalidJob` for the first rule that the job breaks.

    >>> check_job("mail", TaskSpec(max_attempts=0))
    Traceback (most recent call last):
    kongtask.errors.InvalidMaxAttempts: GWBMA: max_attempts must be between 1 and 32767, got 0
    """
    if not isinstance(task, str) or not task:
        raise InvalidJob(
            f"task must be a non-empty string, got {task!r}",
            field="task", value=task, position=position,
        )  # fmt: skip
    _check_length(TaskIdentifierTooLong, "task", task, MAX_IDENTIFIER, position, minimum=1)
    _check_length(QueueNameTooLong, "queue_name", spec.queue_name, MAX_QUEUE_NAME, position)
    _check_length(JobKeyTooLong, "job_key", spec.job_key, MAX_JOB_KEY, position, minimum=1)
    _check_number("priority", spec.priority, -SMALLINT_MAX - 1, InvalidJob, position)
    _check_number("max_attempts", spec.max_attempts, 1, InvalidMaxAttempts, position)
    if spec.job_key_mode is not None and spec.job_key_mode not in get_args(JobKeyMode):
        raise InvalidJobKeyMode(
            "job_key_mode must be replace, preserve_run_at or unsafe_dedupe, "
            f"got {spec.job_key_mode!r}",
            field="job_key_mode", value=spec.job_key_mode, limit=get_args(JobKeyMode),
            position=position,
        )  # fmt: skip
    if spec.run_at is not None and spec.run_at.tzinfo is None:
        raise InvalidJob(
            f"run_at must carry a time zone, got {spec.run_at!r}; for UTC add tzinfo=timezone.utc",
            field="run_at", value=spec.run_at, position=position,
        )  # fmt: skip


def _check_length(
    error: type[InvalidJob],
    field: str,
    value: str | None,
    limit: int,
    position: int | None,
    minimum: int = 0,
) -> None:
    if value is None:
        return
    if "\0" in value or not _is_text(value):
        raise InvalidJob(
            f"{field} must not hold NUL or lone surrogates, got {value[:40]!r}",
            field=field, value=value, position=position,
        )  # fmt: skip
    if not minimum <= len(value) <= limit:
        raise error(
            f"{field} must have {minimum} to {limit} characters, got {len(value)}",
            field=field, value=value, limit=limit, position=position,
        )  # fmt: skip


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_number(
    field: str, value: int | None, low: int, error: type[InvalidJob], position: int | None
) -> None:
    if value is not None and not low <= value <= SMALLINT_MAX:
        raise error(
            f"{field} must be between {low} and {SMALLINT_MAX}, got {value}",
            field=field, value=value, limit=SMALLINT_MAX, position=position,
        )  # fmt: skip

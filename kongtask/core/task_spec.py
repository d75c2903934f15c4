"""What may be said about a job when it is added, and the rules it must keep.

The limits are those of Graphile Worker's tables; checking them here gives the same error for one
job and for a thousand, before anything is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NoReturn, get_args

from kongtask.errors import (
    InvalidJob,
    InvalidJobKeyMode,
    InvalidMaxAttempts,
    JobKeyTooLong,
    QueueNameTooLong,
    TaskIdentifierTooLong,
    shown,
)

JobKeyMode = Literal["replace", "preserve_run_at", "unsafe_dedupe"]
"""What adding a job does when one with its key is there already; rules are Graphile Worker's.

replace: a job that waits becomes the new one, time included.
preserve_run_at: the same, but a job that waits and has not failed keeps its time.
unsafe_dedupe: the job that is there stays as it is, even one that failed for good.

>>> TaskSpec(job_key="daily", job_key_mode="preserve_run_at").job_key_mode
'preserve_run_at'
"""

MAX_IDENTIFIER = 128
MAX_QUEUE_NAME = 128
MAX_JOB_KEY = 512
SMALLINT_MAX = 32767


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """How a job is to be run. Every option left at None takes the documented default.

    The rules are Graphile Worker's. They are checked when the job is added: `InvalidJob`.

    queue_name: jobs of one queue run one after the other, in any worker; at most 128 characters.
    run_at: not before this moment (aware datetime); default now.
    priority: lower runs first; default 0, from -32768 to 32767.
    max_attempts: how often it may run before it is failed for good; default 25, from 1 to 32767.
    job_key: a name unique among waiting jobs; adding it again changes the job. 1 to 512 characters.
    job_key_mode: "replace" (default), "preserve_run_at" or "unsafe_dedupe": see `JobKeyMode`.
    flags: labels that a worker may refuse by its forbidden flags; a list or tuple of texts.

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
    if not isinstance(spec, TaskSpec):
        _refuse("spec", "be a TaskSpec", spec, position)
    if not isinstance(task, str) or not task:
        _refuse("task", "be a non-empty string", task, position)
    _check_length(TaskIdentifierTooLong, "task", task, MAX_IDENTIFIER, position, minimum=1)
    _check_length(QueueNameTooLong, "queue_name", spec.queue_name, MAX_QUEUE_NAME, position)
    _check_length(JobKeyTooLong, "job_key", spec.job_key, MAX_JOB_KEY, position, minimum=1)
    check_number("priority", spec.priority, -SMALLINT_MAX - 1, InvalidJob, position)
    check_number("max_attempts", spec.max_attempts, 1, InvalidMaxAttempts, position)
    if spec.job_key_mode is not None and spec.job_key_mode not in get_args(JobKeyMode):
        raise InvalidJobKeyMode(
            "job_key_mode must be replace, preserve_run_at or unsafe_dedupe, "
            f"got {shown(spec.job_key_mode)}",
            field="job_key_mode", value=spec.job_key_mode, limit=get_args(JobKeyMode),
            position=position,
        )  # fmt: skip
    _check_moment(spec.run_at, position)
    _check_flags(spec.flags, position)


def check_number(
    field: str,
    value: int | None,
    low: int,
    error: type[InvalidJob] = InvalidJob,
    position: int | None = None,
) -> None:
    """Raise the error unless the value is None or a whole number from `low` to 32767."""
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= SMALLINT_MAX:
        raise error(
            f"{field} must be between {low} and {SMALLINT_MAX}, got {shown(value)}",
            field=field, value=value, limit=SMALLINT_MAX, position=position,
        )  # fmt: skip


def is_text(value: object) -> bool:
    """Whether PostgreSQL can hold the value as text: no NUL, no lone surrogates.

    >>> is_text("no\\ttrouble"), is_text("a\\0b"), is_text("\\ud800"), is_text(7)
    (True, False, False, False)
    """
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


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
    if not isinstance(value, str):
        _refuse(field, "be text", value, position)
    if not is_text(value):
        _refuse(field, "not hold NUL or lone surrogates", value, position)
    if not minimum <= len(value) <= limit:
        raise error(
            f"{field} must have {minimum} to {limit} characters, got {len(value)}",
            field=field, value=value, limit=limit, position=position,
        )  # fmt: skip


def _check_moment(run_at: datetime | None, position: int | None) -> None:
    if run_at is None:
        return
    if not isinstance(run_at, datetime):
        _refuse("run_at", "be a datetime", run_at, position)
    if run_at.utcoffset() is None:
        _refuse(
            "run_at", "carry a time zone", run_at, position, "; for UTC add tzinfo=timezone.utc"
        )
    try:
        run_at.astimezone(UTC)
    except OverflowError:
        _refuse("run_at", "be in the years 1 to 9999, in UTC too", run_at, position)


def _check_flags(flags: object, position: int | None) -> None:
    if flags is None:
        return
    if not isinstance(flags, list | tuple) or not all(map(is_text, flags)):
        rule = "be a list of texts without NUL and lone surrogates"
        _refuse("flags", rule, flags, position)


def _refuse(
    field: str, rule: str, value: object, position: int | None, way_out: str = ""
) -> NoReturn:
    raise InvalidJob(
        f"{field} must {rule}, got {shown(value)}{way_out}",
        field=field, value=value, position=position,
    )  # fmt: skip

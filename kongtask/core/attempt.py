"""What becomes of one run of a job. It runs nothing and writes nothing.

The back-off is Graphile Worker's: e to the power of the attempt, in seconds, from the tenth attempt
on always the same. The database computes it anew when it writes; what stands here is for people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from kongtask.core.control import FailJob, JobCancelled, RetryJob, SnoozeJob, When, checked
from kongtask.core.job import Job
from kongtask.core.redaction import without_passwords

OutcomeKind = Literal["success", "retry", "failed", "snoozed", "released"]

ERROR_LIMIT = 10_000
"""Characters of an error's text that are kept with the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    success: the job is done. retry: it failed and is tried again after `retry_delay`, or `when` the
    handler said. failed: it failed for good. snoozed: the handler wants it to run again later, and
    the attempt does not count. released: it was given back unfinished, which does not count either.
    `payload_json` replaces the payload: what is left of a batch.
    """

    kind: OutcomeKind
    error: BaseException | None = None
    message: str = ""
    retry_delay: timedelta | None = None
    when: When | None = None
    payload_json: str | None = None
    batch_errors: tuple[BaseException, ...] = ()


SUCCESS = Outcome(kind="success")
RELEASED = Outcome(kind="released")
CANCELLED = Outcome(kind="failed", message="cancelled before it ran")


DrainAction = Literal["release", "fail"]
"""What becomes of jobs that still run when patience ends."""


def cut_off(job: Job, action: DrainAction) -> Outcome:
    """Return the outcome of a run that was cut off: given back, or failed like any other."""
    if action == "release":
        return RELEASED
    return failure(job, TimeoutError("cut off: the worker ended before the job did"))


def retry_delay(attempts: int) -> timedelta:
    """Return how long a job waits after so many failed runs.

    >>> [round(retry_delay(n).total_seconds(), 1) for n in (1, 2, 10, 11)]
    [2.7, 7.4, 22026.5, 22026.5]
    """
    return timedelta(seconds=math.exp(min(attempts, 10)))


def failure(job: Job, error: BaseException) -> Outcome:
    """Return the outcome of a run that raised."""
    message = without_passwords(error_text(error))
    when: When | None = None
    if isinstance(error, SnoozeJob | RetryJob):
        try:
            when = checked(error.when)
        except Exception as problem:
            message = (
                f"{type(error).__name__} names no time: {error_text(problem)}. An __init__ of its "
                "own must call super().__init__(when)"
            )
    if isinstance(error, SnoozeJob) and when is not None:
        return Outcome(kind="snoozed", message=message, when=when)
    if job.is_last_attempt or isinstance(error, FailJob | JobCancelled):
        return Outcome(kind="failed", error=error, message=message)
    known = retry_delay(job.attempts) if when is None else when
    delay = known if isinstance(known, timedelta) else None
    return Outcome(kind="retry", error=error, message=message, retry_delay=delay, when=when)


def error_text(error: BaseException) -> str:
    """Return what is kept of an error: its message, else its class, bounded.

    >>> error_text(ValueError("no such address")), error_text(KeyError())
    ('no such address', 'KeyError')
    """
    try:
        text = str(error)
    except Exception:
        text = ""
    text = text.strip() or type(error).__name__
    return text if len(text) <= ERROR_LIMIT else text[: ERROR_LIMIT - 1] + "…"

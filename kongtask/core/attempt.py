"""What becomes of one run of a job. It runs nothing and writes nothing.

The back-off is Graphile Worker's: e to the power of the attempt, in seconds, from the tenth attempt
on always the same. The database computes it anew when it writes; what stands here is for people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from kongtask.core.job import Job

OutcomeKind = Literal["success", "retry", "failed", "released"]

ERROR_LIMIT = 10_000
"""Characters of an error's text that are kept with the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    success: the job is done. retry: it failed and is tried again after `retry_delay`. failed: it
    failed for good. released: it was given back unfinished, and the attempt does not count.
    """

    kind: OutcomeKind
    error: BaseException | None = None
    message: str = ""
    retry_delay: timedelta | None = None


SUCCESS = Outcome(kind="success")
RELEASED = Outcome(kind="released")


def retry_delay(attempts: int) -> timedelta:
    """Return how long a job waits after so many failed runs.

    >>> [round(retry_delay(n).total_seconds(), 1) for n in (1, 2, 10, 11)]
    [2.7, 7.4, 22026.5, 22026.5]
    """
    return timedelta(seconds=math.exp(min(attempts, 10)))


def failure(job: Job, error: BaseException) -> Outcome:
    """Return the outcome of a run that raised."""
    message = error_text(error)
    if job.is_last_attempt:
        return Outcome(kind="failed", error=error, message=message)
    delay = retry_delay(job.attempts)
    return Outcome(kind="retry", error=error, message=message, retry_delay=delay)


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

"""Batch jobs: a payload that is a list, of which a handler may do some and fail others.

A handler says so by returning a list of the payload's length, in which exceptions stand for the
elements that failed. Only these are kept for the next attempt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kongtask.core.attempt import ERROR_LIMIT, SUCCESS, Outcome, error_text, failure
from kongtask.core.job import Job

SHOWN_ERRORS = 20
"""How many elements' errors are written into the job's last error."""


class BatchFailed(Exception):
    """Some elements of a batch failed; `errors` says which way, in the payload's order."""

    def __init__(self, total: int, errors: Sequence[BaseException]) -> None:
        lines = [f"- {error_text(error)}" for error in errors[:SHOWN_ERRORS]]
        if len(errors) > SHOWN_ERRORS:
            lines.append(f"- and {len(errors) - SHOWN_ERRORS} more")
        text = "\n".join([f"{len(errors)} of {total} elements failed:", *lines])
        super().__init__(text[:ERROR_LIMIT])
        self.errors = tuple(errors)


def is_batch(payload: Any, results: Any) -> bool:
    """Whether the handler's result speaks of each element of the payload."""
    lists = isinstance(payload, list) and isinstance(results, list | tuple)
    return lists and len(payload) == len(results)


def batch_outcome(job: Job, payload: Sequence[Any], results: Sequence[Any]) -> Outcome:
    """Return the outcome of a batch whose results are all there.

    >>> from datetime import UTC, datetime
    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> job = Job(id=1, task_identifier="a", run_at=now, created_at=now, updated_at=now)
    >>> batch_outcome(job, ["x", "y"], [None, ValueError("no")]).payload_json
    '["y"]'
    """
    pairs = zip(payload, results, strict=True)
    failed = [(each, error) for each, error in pairs if isinstance(error, BaseException)]
    if not failed:
        return SUCCESS
    errors = tuple(error for _, error in failed)
    outcome = failure(job, BatchFailed(len(payload), errors))
    left = json.dumps([each for each, _ in failed])
    return replace(outcome, payload_json=left, batch_errors=errors)

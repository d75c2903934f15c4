"""From rows to jobs, and from what Postgres refuses to the errors that the package promises."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import asyncpg

from kongtask.core.job import Job
from kongtask.errors import InvalidJob
from kongtask.postgres.pool import LOST
from kongtask.postgres.refusals import lost, refusal


def job_from_record(
    record: Any, *, task_identifier: str | None = None, queue_name: str | None = None
) -> Job:
    """Make a job of a row; the names may come from the caller when the row has none."""
    row = dict(record)
    row.pop("task_id", None)
    flags = row.pop("flags_json")
    if row["run_at"] is not None and row["run_at"].tzinfo is None:
        row["run_at"] = row["run_at"].replace(tzinfo=UTC)  # how asyncpg gives an infinite moment
    if task_identifier is not None:
        row["task_identifier"] = task_identifier
        row.setdefault("queue_name", queue_name)
    return Job(flags=() if flags is None else tuple(sorted(json.loads(flags))), **row)


_FETCHED = (
    "id", "payload_json", "queue_name", "priority", "run_at", "attempts", "max_attempts",
    "last_error", "created_at", "updated_at", "key", "revision", "locked_at", "traceparent",
    "tracestate",
)  # fmt: skip
_SET = tuple(vars(Job)[name].__set__ for name in _FETCHED)
_SET_TASK, _SET_POOL, _SET_FLAGS = (
    vars(Job)[name].__set__ for name in ("task_identifier", "locked_by", "flags")
)
_RUN_AT = _FETCHED.index("run_at")


def fetched_job(row: Any, task_names: Mapping[int, str], pool_id: str) -> Job:
    """Make a job of a row of fetch_jobs.sql, whose columns come in the order of `_FETCHED`.

    It goes past the constructor, which takes twice as long as all else that is done here.
    """
    job = Job.__new__(Job)
    for put, value in zip(_SET, row, strict=False):  # names of task and flags come after them
        put(job, value)
    _SET_TASK(job, task_names[row["task_id"]])
    _SET_POOL(job, pool_id)
    flags = row["flags_json"]
    _SET_FLAGS(job, () if flags is None else tuple(sorted(json.loads(flags))))
    if job.run_at.tzinfo is None:  # how asyncpg gives an infinite moment
        _SET[_RUN_AT](job, job.run_at.replace(tzinfo=UTC))
    return job


def storable_text(text: str) -> str:
    """Return the text without what a Postgres text cannot hold: NUL and lone surrogates.

    >>> storable_text("a\\0b")
    'a\\\\x00b'
    """
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def translated_statement(schema: str) -> Iterator[None]:
    """Turn what a statement can raise into the package's errors; the rest passes through."""
    try:
        yield
    except LOST as error:
        if isinstance(error, ValueError):  # asyncpg could not even send an argument
            raise InvalidJob(f"PostgreSQL cannot hold a value: {error}") from error
        raise lost(error) from error
    except asyncpg.PostgresError as error:
        refused = refusal(error, schema)
        if refused is None:
            raise
        raise refused from error

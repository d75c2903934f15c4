"""From rows to jobs, and from what Postgres refuses to the errors that the package promises."""

from __future__ import annotations

import json
from collections.abc import Iterator
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

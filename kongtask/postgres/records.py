"""From rows to jobs, and from what Postgres refuses to the errors that the package promises."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, overload

import asyncpg

from kongtask.core.job import AT_ONCE, PUT, Job, OpenJob
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


_COLUMNS = (
    "id", "payload_json", "queue_name", "priority", "run_at", "attempts", "max_attempts",
    "last_error", "created_at", "updated_at", "key", "revision", "locked_at", "traceparent",
    "tracestate", "task_id", "flags_json",
)  # fmt: skip
"""The columns of fetch_jobs.sql and fetch_unqueued_jobs.sql, in their order."""

_ID, _PAYLOAD, _QUEUE, _PRIORITY, _RUN_AT, _ATTEMPTS, _TRACE, _TASK, _FLAGS = map(
    _COLUMNS.index,
    ("id", "payload_json", "queue_name", "priority", "run_at", "attempts", "traceparent",
     "task_id", "flags_json"),
)  # fmt: skip
_LATER = [
    (PUT[name], at)
    for at, name in enumerate(_COLUMNS)
    if name in PUT and name not in AT_ONCE and not name.endswith("_at")
]
_MOMENTS = [(PUT[name], at) for at, name in enumerate(_COLUMNS) if name.endswith("_at")]


class FetchedJobs(Sequence[Job]):
    """The jobs of a fetch, in the order in which they should run.

    Rows become jobs each time that they are asked for, one or all of them: until then the next
    fetch can be on its way.

    have_queues: whether one of them has a named queue.
    """

    def __init__(
        self, rows: list[Any], task_names: Mapping[int, str], pool_id: str, *, have_queues: bool
    ) -> None:
        self._rows = rows
        self._task_names = task_names
        self._pool_id = pool_id
        self._is_sorted = False
        self.have_queues = have_queues and bool([row for row in rows if row[_QUEUE] is not None])

    def __len__(self) -> int:
        """Return how many there are, which reads none."""
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> Job: ...
    @overload
    def __getitem__(self, at: slice) -> list[Job]: ...
    def __getitem__(self, at: int | slice) -> Job | list[Job]:
        """Return the job, or the jobs, at this place."""
        rows = self._in_order()
        return self._read(rows[at]) if isinstance(at, slice) else self._read([rows[at]])[0]

    def __iter__(self) -> Iterator[Job]:
        """Yield all of them."""
        return iter(self._read(self._in_order()))

    def _in_order(self) -> list[Any]:
        if not self._is_sorted:
            for column in (_ID, _RUN_AT, _PRIORITY):  # thrice as fast as by a key of three
                self._rows.sort(key=itemgetter(column))
            self._is_sorted = True
        return self._rows

    def _read(self, rows: list[Any]) -> list[Job]:
        """Make jobs of rows.

        It goes past the constructor and reads only what every run needs: all of it would take
        longer than anything else that is done for a job.
        """
        pool_id, task_names = self._pool_id, self._task_names

        def fill(job: Job, row: Any) -> None:
            for put, at in _LATER:
                put(job, row[at])
            for put, at in _MOMENTS:
                put(job, moment(row[at]))
            flags = row[_FLAGS]
            PUT["flags"](job, () if flags is None else tuple(sorted(json.loads(flags))))
            PUT["locked_by"](job, pool_id)

        jobs: list[Any] = []
        for row in rows:
            job: Any = OpenJob()
            job.id = row[_ID]
            job.payload_json = row[_PAYLOAD]
            job.queue_name = row[_QUEUE]
            job.task_identifier = task_names[row[_TASK]]
            job.attempts = row[_ATTEMPTS]
            job.traceparent = row[_TRACE]
            job._fill = fill
            job._source = row
            job.__class__ = Job
            jobs.append(job)
        return jobs


def moment(seconds: float) -> datetime:
    """Return the moment so many seconds after 1970; what Python cannot hold becomes its limit.

    >>> moment(1.5).isoformat(), moment(float("-inf")).year
    ('1970-01-01T00:00:01.500000+00:00', 1)
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError):
        return (datetime.max if seconds > 0 else datetime.min).replace(tzinfo=UTC)


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

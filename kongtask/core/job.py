"""A job as it stands in the table. It says nothing about how it is fetched or what runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kongtask.core.unfrozen import unfrozen

_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""The scanner itself: five times as fast as json.loads for a short text."""


class _Unread:
    """A job most of whose fields are put in when the first of them is asked for.

    `_fill` puts them in, from `_source`. Few handlers ask for more than the payload.
    """

    __slots__ = ("_fill", "_source")
    _fill: Callable[[Any, Any], None]
    _source: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(_Unread):
    """One row of Graphile Worker's job table, as handlers, events and administrators see it.

    Times are aware and in UTC; ranges are those of `TaskSpec`.

    id: number of the job, from 1.
    task_identifier: the task's name.
    payload_json: the payload's JSON text; `payload` parses it anew at each use.
    queue_name: the named queue it belongs to, or None.
    priority: lower runs first; default 0.
    run_at: it does not run before this moment.
    attempts: how many runs were begun; in a handler it counts this run too, 1 during the first.
    max_attempts: how often it may run before it is failed for good; default 25.
    last_error: what the last failed run said, at most 10000 characters, or None.
    created_at: when it was added.
    updated_at: when the row was last changed.
    key: its job key, or None.
    revision: how often its key changed it, from 0.
    locked_at: since when a pool holds it, or None.
    locked_by: the id of the pool that holds it, or None.
    flags: its labels, sorted.
    traceparent: W3C trace context of whoever added it, or None; an addition of KongTask's.
    tracestate: the rest of that context, or None.

    >>> from datetime import UTC, datetime
    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> job = Job(
    ...     id=7, task_identifier="mail", payload_json='{"to": "ann"}',
    ...     run_at=now, created_at=now, updated_at=now, attempts=25,
    ... )
    >>> job.payload, job.is_last_attempt
    ({'to': 'ann'}, True)
    """

    id: int
    task_identifier: str
    payload_json: str = "{}"
    queue_name: str | None = None
    priority: int = 0
    run_at: datetime
    attempts: int = 0
    max_attempts: int = 25
    last_error: str | None = None
    created_at: datetime
    updated_at: datetime
    key: str | None = None
    revision: int = 0
    locked_at: datetime | None = None
    locked_by: str | None = None
    flags: tuple[str, ...] = ()
    traceparent: str | None = None
    tracestate: str | None = None

    @property
    def payload(self) -> Any:
        """The payload as Python values: dict, list, str, int, float, bool or None."""
        text = self.payload_json
        try:
            value, end = _scan(text, 0)
        except (ValueError, StopIteration):  # such as white space in front
            return json.loads(text)
        return value if end == len(text) else json.loads(text)

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure of this run is final."""
        return self.attempts >= self.max_attempts


class _Later:
    """A field that is put in, with the others of its kind, when the first of them is asked for.

    A `__getattr__` would do the same, and make each use of any other field three times as slow.
    """

    def __init__(self, member: Any) -> None:
        self._member = member

    def __get__(self, job: Any, owner: type | None = None) -> Any:
        if job is None:
            return self
        try:
            return self._member.__get__(job, owner)
        except AttributeError:
            job._fill(job, job._source)
            return self._member.__get__(job, owner)

    def __set__(self, job: Any, value: object) -> None:
        self._member.__set__(job, value)


PUT: dict[str, Callable[[Job, object], None]] = {
    name: vars(Job)[name].__set__ for name in Job.__dataclass_fields__
}
"""For each field, what puts its value into a job that was made without it."""

AT_ONCE = ("id", "task_identifier", "payload_json", "queue_name", "attempts", "traceparent")
"""The fields that every run needs, the last of them if it is traced."""

for _name in PUT.keys() - set(AT_ONCE):
    setattr(Job, _name, _Later(vars(Job)[_name]))


OpenJob = unfrozen(Job)

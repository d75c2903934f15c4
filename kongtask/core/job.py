"""A job as it stands in the table. It says nothing about how it is fetched or what runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

_read = json.JSONDecoder().raw_decode
"""Three times as fast as json.loads for a short text."""


class _Unread:
    """A job most of whose fields are put in when the first of them is asked for.

    `_rest` holds who puts them in, and from what. Few handlers ask for more than the payload.
    """

    __slots__ = ("_rest",)
    _rest: tuple[Callable[[Any, Any], None], Any]

    if not TYPE_CHECKING:  # a type checker knows the fields, and is to complain of others

        def __getattr__(self, name: str) -> Any:
            rest = None if name == "_rest" else getattr(self, "_rest", None)
            if rest is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            fill, source = rest
            fill(self, source)
            return object.__getattribute__(self, name)


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
            value, end = _read(text)
        except ValueError:  # such as white space in front
            return json.loads(text)
        return value if end == len(text) else json.loads(text)

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure of this run is final."""
        return self.attempts >= self.max_attempts

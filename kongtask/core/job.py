"""A job as it stands in the table. It says nothing about how it is fetched or what runs it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of the job table, as handlers, events and the administrative calls see it.

    `payload_json` is the payload's JSON text; `payload` parses it anew at each use. `attempts`
    counts this run too: 1 during the first. Times are aware and in UTC.
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
        return json.loads(self.payload_json)

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure of this run is final."""
        return self.attempts >= self.max_attempts

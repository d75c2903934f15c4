"""One run of a job: what the worker knows of it from its fetch to what became of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from kongtask.core.attempt import SUCCESS, Outcome
from kongtask.core.job import Job


@dataclass(slots=True, eq=False)
class Run:
    """A run that waits, goes on or has ended.

    fetched_at: the monotonic moment since which it waits to begin.
    worker_id: which of the pool's workers runs it; empty when it was never started.
    at: the monotonic moment of its start. seconds: how long it took.
    outcome: what became of it, once it has ended.
    reason: why it was told to end, if it was.
    task: the asyncio task it runs in, which is its worker's.
    is_lost: others may run the job now. is_given_up: it was recorded without waiting for its end.
    successor: the same job, fetched again while this run still goes on.
    """

    job: Job
    fetched_at: float = 0.0
    worker_id: str = ""
    at: float = 0.0
    outcome: Outcome = SUCCESS
    seconds: float = 0.0
    reason: Exception | None = None
    task: asyncio.Task[Any] | None = None
    is_lost: bool = False
    is_given_up: bool = False
    successor: Job | None = None

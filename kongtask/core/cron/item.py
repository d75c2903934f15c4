"""What a recurring job is, as its author writes it and as the scheduler reads it.

These are values; how text becomes one stands in crontab.py, when one fires in schedule.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from kongtask.core.task_spec import JobKeyMode


@dataclass(frozen=True, slots=True, kw_only=True)
class CronItemOptions:
    """How the jobs of a recurring item are run, and how far back missed ones are made up for.

    backfill_period: after a pause, firings no older than this are added late; default none.
    queue_name: jobs of one queue run one after the other; at most 128 characters.
    priority: lower runs first; default 0, from -32768 to 32767.
    max_attempts: how often a job may run before it is failed for good; default 25, at least 1.
    job_key: firings replace a job with this key that still waits; 1 to 512 characters.
    job_key_mode: "replace" (default), "preserve_run_at" or "unsafe_dedupe".
    """

    backfill_period: timedelta = timedelta(0)
    queue_name: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    job_key: str | None = None
    job_key_mode: JobKeyMode | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CronItem:
    """A recurring job: its task and the times at which it is added, in UTC.

    match: minute, hour, day of month, month and day of week, as in a crontab.
    pattern: another name for match; when both are given, match wins.
    identifier: under which its firings are remembered; default the task's name.
    payload: a JSON object; `_cron` is added to it at each firing.

    >>> CronItem(task="report", pattern="0 4 * * *").match
    '0 4 * * *'
    """

    task: str
    match: str = ""
    pattern: str = ""
    identifier: str | None = None
    payload: Mapping[str, Any] | None = None
    options: CronItemOptions = field(default_factory=CronItemOptions)

    def __post_init__(self) -> None:
        times = self.match or self.pattern
        object.__setattr__(self, "match", times)
        object.__setattr__(self, "pattern", times)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedCronItem:
    """A recurring job that passed every check, its five time fields written out as numbers.

    Each field is sorted and without repeats; `dows` counts from Sunday = 0.
    """

    task: str
    identifier: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    dates: tuple[int, ...]
    months: tuple[int, ...]
    dows: tuple[int, ...]
    payload: Mapping[str, Any] = field(default_factory=dict, hash=False)
    options: CronItemOptions = field(default_factory=CronItemOptions)

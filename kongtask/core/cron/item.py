"""What a recurring job is, as its author writes it and as the scheduler reads it.

These are values; how text becomes one stands in crontab.py, when one fires in schedule.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from kongtask.core.task_spec import JobKeyMode, TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class CronItemOptions:
    """How the jobs of a recurring item are run, and how far back missed ones are made up for.

    They are checked by `parse_cron_items`: `CrontabError`.

    backfill_period: after a pause, firings no older than this are added late; a timedelta of 0 or
        more, default 0 for none.
    queue_name: jobs of one queue run one after the other; at most 128 characters.
    priority: lower runs first; default 0, from -32768 to 32767.
    max_attempts: how often a job may run before it is failed for good; default 25, to 32767.
    job_key: firings replace a job with this key that still waits; 1 to 512 characters.
    job_key_mode: "replace" (default), "preserve_run_at" or "unsafe_dedupe".
    timezone: the zone whose clock the times are those of, such as "Europe/Berlin"; default UTC.

    >>> CronItemOptions(backfill_period=timedelta(hours=12)).max_attempts is None
    True
    """

    backfill_period: timedelta = timedelta(0)
    queue_name: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    job_key: str | None = None
    job_key_mode: JobKeyMode | None = None
    timezone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CronItem:
    """A recurring job: its task and the times at which it is added, in UTC or its time zone.

    It is checked by `parse_cron_items`: `CrontabError`. The grammar is that of crontabs.

    task: the task's name, 1 to 128 characters.
    match: minute, hour, day of month, month and day of week, as in a crontab; or such as @daily.
    pattern: another name for match; when both are given, match wins.
    identifier: under which its firings are remembered, 1 to 512 characters; default the task's
        name.
    payload: a JSON object, default empty; `_cron` is added to it at each firing.
    options: how its jobs are run, and how far back missed ones are made up for.

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

    They are those of its time zone's clock. Each of the five is sorted and without repeats.

    task: the task's name.
    identifier: under which its firings are remembered; unique in a crontab.
    minutes: 0 to 59.
    hours: 0 to 23.
    dates: days of the month, 1 to 31.
    months: 1 to 12.
    dows: days of the week, Sunday = 0 to Saturday = 6.
    payload: what each job gets, `_cron` apart.
    options: how its jobs are run, and how far back missed ones are made up for.

    >>> from kongtask import parse_crontab
    >>> item = parse_crontab("30 4 * * 1 report ?max=3 {to: 'all'}")[0]
    >>> item.minutes, item.hours, item.dows
    ((30,), (4,), (1,))
    >>> item.job[:2], item.job[2].max_attempts
    (('report', {'to': 'all'}), 3)
    >>> parse_crontab("@daily report ?tz=Europe/Berlin")[0].zone
    zoneinfo.ZoneInfo(key='Europe/Berlin')
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

    @property
    def zone(self) -> ZoneInfo | None:
        """The time zone, or None for UTC."""
        name = self.options.timezone
        return None if name is None else ZoneInfo(name)

    @property
    def job(self) -> tuple[str, Mapping[str, Any], TaskSpec]:
        """What is added at each firing, as `add_jobs` takes it; `run_at` and `_cron` come then."""
        options = self.options
        spec = TaskSpec(
            queue_name=options.queue_name,
            priority=options.priority,
            max_attempts=options.max_attempts,
            job_key=options.job_key,
            job_key_mode=options.job_key_mode,
        )
        return self.task, self.payload, spec

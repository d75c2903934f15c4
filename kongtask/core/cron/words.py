"""Recurring jobs in words, for people who check a crontab."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import product

from kongtask.core.cron.calendar import is_whole
from kongtask.core.cron.fields import DATE, DOW, HOUR, MINUTE, MONTH
from kongtask.core.cron.item import ParsedCronItem

_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    "", "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_MOST_TIMES = 6
_UNITS = {"week": timedelta(weeks=1), "day": timedelta(days=1), "hour": timedelta(hours=1),
          "minute": timedelta(minutes=1), "second": timedelta(seconds=1)}  # fmt: skip


def item_in_words(item: ParsedCronItem) -> str:
    """Return when the item fires and what it adds, as a sentence without its full stop.

    >>> from kongtask import parse_crontab
    >>> for line in (
    ...     "*/15 9-17 * * mon-fri sync ?tz=Europe/Berlin",
    ...     "30 4 1,15 * sun report ?id=twice&fill=1d12h",
    ...     "0 * * jan * tidy",
    ... ):
    ...     print(item_in_words(parse_crontab(line)[0]))
    sync: every 15 minutes of the hours 9 to 17, on Monday to Friday (Europe/Berlin)
    twice: task report, at 04:30, on day 1 and 15 of the month or on Sunday (UTC), missed firings \
made up for within 1 day 12 hours
    tidy: at minute 0 of every hour, in January (UTC)
    """
    parts = [
        f"task {item.task}" if item.task != item.identifier else "",
        _times(item),
        _days(item) or ("every day" if _has_times(item) else ""),
        _months(item),
    ]
    when = ", ".join(part for part in parts if part)
    fill = item.options.backfill_period
    missed = f", missed firings made up for within {_period(fill)}" if fill else ""
    return f"{item.identifier}: {when} ({item.options.timezone or 'UTC'}){missed}"


def _has_times(item: ParsedCronItem) -> bool:
    """Whether the times of a day are few enough to be named one by one."""
    few = len(item.minutes) * len(item.hours) <= _MOST_TIMES
    return few and not is_whole(HOUR, item.hours)


def _times(item: ParsedCronItem) -> str:
    every_hour = is_whole(HOUR, item.hours)
    if _has_times(item):
        return f"at {_listed(f'{h:02}:{m:02}' for h, m in product(item.hours, item.minutes))}"
    minutes = _minutes(item.minutes)
    if every_hour:
        return minutes if minutes.startswith("every") else f"{minutes} of every hour"
    plural = "s" if len(item.hours) > 1 else ""
    return f"{minutes} of the hour{plural} {_runs(item.hours, str)}"


def _minutes(minutes: tuple[int, ...]) -> str:
    if is_whole(MINUTE, minutes):
        return "every minute"
    step = 60 // len(minutes)
    if len(minutes) > 1 and minutes == tuple(MINUTE.everything[::step]) and 60 % step == 0:
        return f"every {step} minutes"
    return f"at minute{'s' if len(minutes) > 1 else ''} {_runs(minutes, str)}"


def _days(item: ParsedCronItem) -> str:
    dates = "" if is_whole(DATE, item.dates) else f"on day {_runs(item.dates, str)} of the month"
    dows = "" if is_whole(DOW, item.dows) else f"on {_runs(item.dows, _DAYS.__getitem__)}"
    return " or ".join(part for part in (dates, dows) if part)


def _months(item: ParsedCronItem) -> str:
    whole = is_whole(MONTH, item.months)
    return "" if whole else f"in {_runs(item.months, _MONTHS.__getitem__)}"


def _runs(values: tuple[int, ...], name: Callable[[int], str]) -> str:
    """Return the names, three and more that follow each other as a range."""
    runs: list[list[int]] = []
    for value in values:
        if runs and runs[-1][-1] == value - 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    ranges = (
        [f"{name(run[0])} to {name(run[-1])}"] if len(run) > 2 else [name(value) for value in run]
        for run in runs
    )
    return _listed(word for words in ranges for word in words)


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _period(period: timedelta) -> str:
    parts = []
    for unit, size in _UNITS.items():
        count, period = divmod(period, size)
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
    return " ".join(parts) or "less than a second"

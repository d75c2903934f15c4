"""When recurring jobs fire: in which minutes, which of them are due, late or to be made up for.

Everything is computed of values, in UTC, on whole minutes; nothing here asks what time it is.
Minute, hour and month must match. When days of the month and days of the week are both
restricted, one of the two is enough, as in Graphile Worker; a field is restricted when the values
it stands for are not all there are, however it was written.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, takewhile

from croniter import CroniterError, croniter

from kongtask.core.cron.fields import DATE, DOW, HOUR, MINUTE, MONTH, TimeField
from kongtask.core.cron.item import ParsedCronItem

CATCH_UP_LIMIT = timedelta(days=1)
"""How far back `ticks_due` looks: whoever slept longer has missed the rest."""

RESTART_GRACE = timedelta(seconds=90)
"""How far back a stateless scheduler looks for what it missed while it was restarted."""

ONE_MINUTE = timedelta(minutes=1)
_INSTANT = timedelta(microseconds=1)
_LONGEST_MONTH = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCrontab:
    """What the database remembers of an identifier; times are aware and in UTC."""

    known_since: datetime
    last_execution: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A minute and the items that fire in it, in their own order."""

    timestamp: datetime
    items: tuple[ParsedCronItem, ...]
    backfilled: bool = False


def whole_minute(moment: datetime) -> datetime:
    """Return the minute that the moment lies in, in UTC; raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError(f"moment must carry a time zone, got {moment!r}")
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def matches(item: ParsedCronItem, moment: datetime) -> bool:
    """Whether the item fires in the minute that the moment lies in."""
    minute = whole_minute(moment)
    in_time = minute.minute in item.minutes and minute.hour in item.hours
    return in_time and minute.month in item.months and _on_day(item, minute)


def next_tick(item: ParsedCronItem, after: datetime) -> datetime | None:
    """Return the first minute after the moment at which the item fires, or None for never."""
    return next(_firings(item, after), None)


def next_due(items: Iterable[ParsedCronItem], after: datetime) -> datetime | None:
    """Return the first minute after the moment at which any item fires, or None for never."""
    moments = (next_tick(item, after) for item in items)
    return min((moment for moment in moments if moment is not None), default=None)


def ticks_due(
    items: Sequence[ParsedCronItem], since: datetime, until: datetime
) -> tuple[Tick, ...]:
    """Return, ascending, the minutes in (since, until] in which items fire.

    Looks back from `until` no further than `CATCH_UP_LIMIT`.
    """
    start = max(since, until - CATCH_UP_LIMIT)
    return _ticks(((item, start) for item in items), until, backfilled=False)


def backfill_ticks(
    items: Sequence[ParsedCronItem], known: Mapping[str, KnownCrontab], start: datetime
) -> tuple[Tick, ...]:
    """Return, ascending, the minutes before `start` that items are to be made up for.

    An item has such minutes only when its identifier was known before: those no older than its
    backfill period, from its last execution on, or from when it became known.
    """
    since = (
        (item, _backfill_start(item, known[item.identifier], start) - _INSTANT)
        for item in items
        if item.identifier in known and item.options.backfill_period
    )
    return _ticks(since, start - _INSTANT, backfilled=True)


def resume_point(
    known: KnownCrontab | None, now: datetime, grace: timedelta = RESTART_GRACE
) -> datetime:
    """Return the moment after which an identifier may have missed minutes, at most `grace` ago.

    One that was not known yet has missed nothing: its moment is `now`.
    """
    if known is None:
        return now
    seen = known.last_execution or known.known_since - _INSTANT
    return max(seen, now - grace)


def ticks_owed(
    items: Sequence[ParsedCronItem],
    known: Mapping[str, KnownCrontab],
    now: datetime,
    grace: timedelta = RESTART_GRACE,
) -> tuple[Tick, ...]:
    """Return, ascending, what a scheduler without a memory of its own has to enqueue now.

    Called at each wake-up, it gives every minute of known identifiers once it is due and until it
    was enqueued, for `grace` at most. Wake up at `next_due` at the latest.
    """
    since = ((item, resume_point(known.get(item.identifier), now, grace)) for item in items)
    return _ticks(since, now, backfilled=False)


def _ticks(
    since: Iterable[tuple[ParsedCronItem, datetime]], until: datetime, *, backfilled: bool
) -> tuple[Tick, ...]:
    minutes: dict[datetime, list[ParsedCronItem]] = {}
    for item, start in since:
        for moment in takewhile(lambda moment: moment <= until, _firings(item, start)):
            minutes.setdefault(moment, []).append(item)
    return tuple(
        Tick(timestamp=moment, items=tuple(minutes[moment]), backfilled=backfilled)
        for moment in sorted(minutes)
    )


def _backfill_start(item: ParsedCronItem, known: KnownCrontab, start: datetime) -> datetime:
    seen = known.last_execution or known.known_since
    try:
        return max(seen, start - item.options.backfill_period)
    except OverflowError:
        return seen


def _firings(item: ParsedCronItem, after: datetime) -> Iterator[datetime]:
    """Yield the minutes after the moment at which the item fires, ascending."""
    start = whole_minute(after)
    calendars = (_calendar(expression, start) for expression in _expressions(item))
    return (moment for moment, _ in groupby(heapq.merge(*calendars)))


def _calendar(expression: str, start: datetime) -> Iterator[datetime]:
    moments = croniter(expression, start, ret_type=datetime)
    while True:
        try:
            yield moments.get_next(datetime)
        except (CroniterError, ValueError, OverflowError):
            return  # past the last year that a datetime can hold


def _expressions(item: ParsedCronItem) -> list[str]:
    """Write the item as one or two expressions, of which each restricts the days in one way.

    croniter searches decades for a day that its months do not have: such are left out.
    """
    minutes, hours = _written(MINUTE, item.minutes), _written(HOUR, item.hours)
    dates, months = _written(DATE, item.dates), _written(MONTH, item.months)
    dows = _written(DOW, item.dows)
    by_date = f"{minutes} {hours} {dates} {months} *"
    by_dow = f"{minutes} {hours} * {months} {dows}"
    possible = any(min(item.dates) <= _LONGEST_MONTH[month] for month in item.months)
    expressions = [by_date] if dates != "*" and possible else []
    return expressions + ([by_dow] if dows != "*" or dates == "*" else [])


def _written(field: TimeField, values: tuple[int, ...]) -> str:
    return "*" if _is_whole(field, values) else ",".join(str(value) for value in values)


def _is_whole(field: TimeField, values: tuple[int, ...]) -> bool:
    return len(values) == len(field.everything)


def _on_day(item: ParsedCronItem, minute: datetime) -> bool:
    by_date, by_dow = not _is_whole(DATE, item.dates), not _is_whole(DOW, item.dows)
    in_dates = by_date and minute.day in item.dates
    in_dows = by_dow and minute.isoweekday() % 7 in item.dows
    return in_dates or in_dows or not (by_date or by_dow)

"""The minutes in which a recurring job fires, one after the other, on its time zone's clock.

When its hours are restricted, each time on the clock counts once: one that the clock skips, going
forward, becomes the first minute after the gap, and one that the clock shows twice counts the
first time. When they are not, every minute that passes counts, whatever the clock then shows.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import groupby, product

from kongtask.core.cron.fields import DATE, DOW, HOUR, TimeField
from kongtask.core.cron.item import ParsedCronItem

ONE_MINUTE = timedelta(minutes=1)
_ONE_DAY = timedelta(days=1)
_ONE_HOUR = timedelta(hours=1)
_LONGEST_MONTH = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_EARLIEST, _LATEST = timedelta(hours=-16), timedelta(hours=40)
"""Between these, from a day's midnight in UTC, lies every minute that a clock calls that day."""


def whole_minute(moment: datetime) -> datetime:
    """Return the minute that the moment lies in, in UTC; raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError(f"moment must carry a time zone, got {moment!r}")
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def is_whole(field: TimeField, values: tuple[int, ...]) -> bool:
    """Whether the values are all that the field has, however that was written."""
    return len(values) == len(field.everything)


def firings(item: ParsedCronItem, after: datetime) -> Iterator[datetime]:
    """Yield the minutes in UTC after the moment at which the item fires, ascending.

    It ends where the calendar does: in the year 9999, or at once for a day that no month has.
    """
    after = whole_minute(after)
    try:
        zone = item.zone
        if zone is None:
            yield from (wall.replace(tzinfo=UTC) for wall in _walls(item, _naive(after, UTC)))
        elif is_whole(HOUR, item.hours):
            yield from _passing(item, after, zone)
        else:
            yield from _once_each(item, after, zone)
    except OverflowError:
        return


def upcoming(
    items: Iterable[ParsedCronItem], after: datetime
) -> Iterator[tuple[datetime, ParsedCronItem]]:
    """Yield each firing after the moment with its item, ascending, then in the items' order."""
    each = (_with_item(item, after) for item in items)
    return heapq.merge(*each, key=lambda firing: firing[0])


def _with_item(item: ParsedCronItem, after: datetime) -> Iterator[tuple[datetime, ParsedCronItem]]:
    return ((moment, item) for moment in firings(item, after))


def _naive(moment: datetime, zone: tzinfo) -> datetime:
    """Return what the zone's clock shows."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _once_each(item: ParsedCronItem, after: datetime, zone: tzinfo) -> Iterator[datetime]:
    """Yield each time on the clock once. Later times never come before earlier ones."""
    last = after
    for wall in _walls(item, _naive(after, zone)):
        moment = _moment(wall, zone)
        if moment > last:
            yield moment
            last = moment


def _moment(wall: datetime, zone: tzinfo) -> datetime:
    """Return when the clock first shows this, or the first minute after the gap it lies in."""
    moment = wall.replace(tzinfo=zone).astimezone(UTC)
    if _naive(moment, zone) == wall:
        return moment
    return _end_of_gap(wall.replace(tzinfo=zone, fold=1).astimezone(UTC), moment, zone)


def _end_of_gap(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """Return the first minute between the two with the later one's distance from UTC."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > ONE_MINUTE:
        middle = before + (after - before) // ONE_MINUTE // 2 * ONE_MINUTE
        is_past = middle.astimezone(zone).utcoffset() == offset
        before, after = (before, middle) if is_past else (middle, after)
    return after


def _passing(item: ParsedCronItem, after: datetime, zone: tzinfo) -> Iterator[datetime]:
    """Yield every minute that passes while the clock shows a time of the item."""
    hour = after.replace(minute=0)
    for day in _days(item, _naive(after, zone).date() - _ONE_DAY):
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        hour = max(hour, midnight + _EARLIEST)
        while hour <= midnight + _LATEST:
            yield from (each for each in _of_hour(item, hour, zone) if each > after)
            hour += _ONE_HOUR


def _of_hour(item: ParsedCronItem, hour: datetime, zone: tzinfo) -> Iterator[datetime]:
    """Yield the minutes of one hour of UTC in which the clock shows a time of the item."""
    for moment in _candidates(item, hour, zone):
        wall = _naive(moment, zone)
        if wall.minute in item.minutes and _is_day(item, wall):
            yield moment


def _candidates(item: ParsedCronItem, hour: datetime, zone: tzinfo) -> list[datetime]:
    """Return the minutes of an hour that may do: those, or all when the clock changes in it."""
    first, last = hour.astimezone(zone), (hour + _ONE_HOUR).astimezone(zone)
    if first.utcoffset() != last.utcoffset():
        return [hour + minute * ONE_MINUTE for minute in range(60)]
    if not (_is_day(item, first) or _is_day(item, last)):
        return []
    return [hour + n * ONE_MINUTE for n in sorted((m - first.minute) % 60 for m in item.minutes)]


def _walls(item: ParsedCronItem, after: datetime) -> Iterator[datetime]:
    """Yield the times after the given one at which a clock without changes fires the item."""
    times = _times(item.hours, item.minutes)
    for day in _days(item, after.date()):
        passed = bisect_right(times, (after.hour, after.minute)) if day == after.date() else 0
        for hour, minute in times[passed:]:
            yield datetime(day.year, day.month, day.day, hour, minute)


@lru_cache(256)
def _times(hours: tuple[int, ...], minutes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    return tuple(product(hours, minutes))


def _days(item: ParsedCronItem, first: date) -> Iterator[date]:
    """Yield the days from the first on that match; none when no month has such a day."""
    before = datetime(first.year, first.month, first.day) - ONE_MINUTE
    calendars = (_midnights(expression, before) for expression in _expressions(item))
    return (midnight.date() for midnight, _ in groupby(heapq.merge(*calendars)))


def _midnights(expression: str, before: datetime) -> Iterator[datetime]:
    # Most programs that import the package have no recurring jobs, and start the sooner for it.
    from croniter import CroniterError, croniter

    moments = croniter(expression, before, ret_type=datetime)
    while True:
        try:
            yield moments.get_next(datetime)
        except (CroniterError, ValueError, OverflowError):
            return  # past the last year that a datetime can hold


def _expressions(item: ParsedCronItem) -> list[str]:
    """Write the item's days as one or two expressions, each restricting them in one way.

    croniter searches decades for a day that its months do not have: such are left out.
    """
    dates, months, dows = _list(item.dates), _list(item.months), _list(item.dows)
    by_date, by_dow = not is_whole(DATE, item.dates), not is_whole(DOW, item.dows)
    possible = any(min(item.dates) <= _LONGEST_MONTH[month] for month in item.months)
    expressions = [f"0 0 {dates} {months} *"] if by_date and possible else []
    return expressions + ([f"0 0 * {months} {dows}"] if by_dow or not by_date else [])


def _list(values: tuple[int, ...]) -> str:
    return ",".join(map(str, values))


def _is_day(item: ParsedCronItem, day: date) -> bool:
    return day.month in item.months and _on_day(item, day)


def _on_day(item: ParsedCronItem, day: date) -> bool:
    """Whether a day is one of the item's, its month aside."""
    by_date, by_dow = not is_whole(DATE, item.dates), not is_whole(DOW, item.dows)
    in_dates = by_date and day.day in item.dates
    in_dows = by_dow and day.isoweekday() % 7 in item.dows
    return in_dates or in_dows or not (by_date or by_dow)

"""Which firings of recurring jobs are due, late or to be made up for.

Everything is computed of values, in UTC, on whole minutes; nothing here asks what time it is.
Minute, hour and month must match. When days of the month and days of the week are both
restricted, one of the two is enough, as in Graphile Worker; a field is restricted when the values
it stands for are not all there are, however it was written. Time zones: see calendar.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from kongtask.core.cron.calendar import ONE_MINUTE, firings, whole_minute
from kongtask.core.cron.item import ParsedCronItem

CATCH_UP_LIMIT = timedelta(days=1)
"""How far back `ticks_due` looks: whoever slept longer has missed the rest."""

RESTART_GRACE = timedelta(seconds=90)
"""How far back a stateless scheduler looks for what it missed while it was restarted."""

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCrontab:
    """What the database remembers of a recurring job; moments are aware and in UTC.

    known_since: when a scheduler first saw it.
    last_execution: the minute it last fired for; None before the first time, and while paused.
    paused: whether no scheduler adds its jobs, until it is resumed.

    >>> from datetime import UTC, datetime
    >>> KnownCrontab(known_since=datetime(2026, 1, 1, tzinfo=UTC)).paused
    False
    """

    known_since: datetime
    last_execution: datetime | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A minute and the items that fire in it, in their own order.

    `backfilled`: it was missed while nobody scheduled; `late`: whoever scheduled was too slow.
    """

    timestamp: datetime
    items: tuple[ParsedCronItem, ...]
    backfilled: bool = False
    late: bool = False


def matches(item: ParsedCronItem, moment: datetime) -> bool:
    """Whether the item fires in the minute that the moment lies in."""
    minute = whole_minute(moment)
    return next_tick(item, minute - ONE_MINUTE) == minute


def next_tick(item: ParsedCronItem, after: datetime) -> datetime | None:
    """Return the first minute after the moment at which the item fires, or None for never."""
    return next(firings(item, after), None)


def next_due(items: Iterable[ParsedCronItem], after: datetime) -> datetime | None:
    """Return the first minute after the moment at which any item fires, or None for never."""
    moments = (next_tick(item, after) for item in items)
    return min((moment for moment in moments if moment is not None), default=None)


def ticks_due(
    items: Sequence[ParsedCronItem], since: datetime, until: datetime
) -> tuple[Tick, ...]:
    """Return, ascending, the minutes in (since, until] in which items fire.

    Looks back from `until` no further than `CATCH_UP_LIMIT`. Those of minutes that have passed at
    `until` are late.
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
        and not known[item.identifier].paused
    )  # fmt: skip
    return _ticks(since, start - _INSTANT, backfilled=True)


def resume_point(
    known: KnownCrontab | None, now: datetime, grace: timedelta = RESTART_GRACE
) -> datetime:
    """Return the moment after which an identifier may have missed minutes, at most `grace` ago.

    One that was not known yet, or is paused, has missed nothing: its moment is `now`.
    """
    if known is None or known.paused:
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
        for moment in takewhile(lambda moment: moment <= until, firings(item, start)):
            minutes.setdefault(moment, []).append(item)
    current = whole_minute(until)
    return tuple(
        Tick(
            timestamp=moment, items=tuple(minutes[moment]), backfilled=backfilled,
            late=not backfilled and moment < current,
        )
        for moment in sorted(minutes)
    )  # fmt: skip


def _backfill_start(item: ParsedCronItem, known: KnownCrontab, start: datetime) -> datetime:
    seen = known.last_execution or known.known_since
    try:
        return max(seen, start - item.options.backfill_period)
    except OverflowError:
        return seen

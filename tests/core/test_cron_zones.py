"""A line's times are those of its zone's clock, also where that clock goes forward or back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kongtask.core.cron.calendar import firings
from kongtask.core.cron.crontab import parse_cron_items
from kongtask.core.cron.item import CronItem, CronItemOptions, ParsedCronItem
from kongtask.core.cron.schedule import (
    KnownCrontab,
    backfill_ticks,
    matches,
    next_due,
    next_tick,
    ticks_due,
)

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def cron(times: str, zone: str | None, fill: timedelta = timedelta(0)) -> ParsedCronItem:
    options = CronItemOptions(timezone=zone, backfill_period=fill)
    return parse_cron_items([CronItem(task="t", match=times, options=options)])[0]


def fired(times: str, zone: str, day: str, days: int = 1) -> list[str]:
    """What the zone's clock shows, with its distance from UTC, at each firing of some days."""
    clock = ZoneInfo(zone)
    start = datetime.fromisoformat(day).replace(tzinfo=clock)
    end = (start + days * DAY).astimezone(UTC)
    moments = takewhile(
        lambda moment: moment < end,
        firings(cron(times, zone), start.astimezone(UTC) - MINUTE),
    )
    return [f"{moment.astimezone(clock):%d %H:%M%z}".replace("+0000", "Z") for moment in moments]


BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
LORD_HOWE, KOLKATA = "Australia/Lord_Howe", "Asia/Kolkata"

FORWARD = {
    "a time in the gap fires after it": (
        "30 2 * * *", BERLIN, "2026-03-28", 3, ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"],
    ),
    "times in the gap fire together": ("*/20 2 * * *", BERLIN, "2026-03-29", 1, ["29 03:00+0200"]),
    "with the time after it": ("0 2,3 * * *", BERLIN, "2026-03-29", 1, ["29 03:00+0200"]),
    "times around the gap are their own": (
        "59 1,3 * * *", BERLIN, "2026-03-29", 1, ["29 01:59+0100", "29 03:59+0200"],
    ),
    "every hour goes by elapsed time": (
        "0 * * * *", BERLIN, "2026-03-29T00:00", 1,
        ["29 00:00+0100", "29 01:00+0100", *(f"29 {h:02}:00+0200" for h in range(3, 24))],
    ),
    "New York": (
        "15 2 * * *", NEW_YORK, "2026-03-07", 3,
        ["07 02:15-0500", "08 03:00-0400", "09 02:15-0400"],
    ),
    "half an hour on Lord Howe": (
        "15,45 2 * * *", LORD_HOWE, "2026-10-04", 1, ["04 02:30+1100", "04 02:45+1100"],
    ),
    "every quarter on Lord Howe": (
        "*/15 * 4 10 *", LORD_HOWE, "2026-10-04", 1,
        [f"04 {m // 60:02}:{m % 60:02}{'+1030' if m < 120 else '+1100'}"
         for m in range(0, 1440, 15) if not 120 <= m < 150],
    ),
    "a midnight in the gap": (
        "0 0 * * *", "Africa/Cairo", "2026-04-23", 3,
        ["23 00:00+0200", "24 01:00+0300", "25 00:00+0300"],
    ),
    "a day in the gap": (
        "0 12 * * *", "Pacific/Apia", "2011-12-29", 3,
        ["29 12:00-1000", "31 00:00+1400", "31 12:00+1400"],
    ),
    "the day of a time in the gap is its own": ("30 2 30 3 *", BERLIN, "2026-03-29", 1, []),
}  # fmt: skip

BACK = {
    "a time shown twice fires once": (
        "30 2 * * *", BERLIN, "2026-10-24", 3, ["24 02:30+0200", "25 02:30+0200", "26 02:30+0100"],
    ),
    "times shown twice fire once each": (
        "*/30 2-3 * * *", BERLIN, "2026-10-25", 1,
        ["25 02:00+0200", "25 02:30+0200", "25 03:00+0100", "25 03:30+0100"],
    ),
    "every hour goes by elapsed time": (
        "30 * * * *", BERLIN, "2026-10-25", 1,
        ["25 00:30+0200", "25 01:30+0200", "25 02:30+0200", "25 02:30+0100",
         *(f"25 {h:02}:30+0100" for h in range(3, 24))],
    ),
    "New York": (
        "45 1 * * *", NEW_YORK, "2026-10-31", 3,
        ["31 01:45-0400", "01 01:45-0400", "02 01:45-0500"],
    ),
    "half an hour on Lord Howe": (
        "15,45 1 * * *", LORD_HOWE, "2026-04-05", 1, ["05 01:15+1100", "05 01:45+1100"],
    ),
    "every half hour on Lord Howe": (
        "*/30 * * * *", LORD_HOWE, "2026-04-05", 1,
        ["05 00:00+1100", "05 00:30+1100", "05 01:00+1100", "05 01:30+1100", "05 01:30+1030",
         *(f"05 {h:02}:{m:02}+1030" for h in range(2, 24) for m in (0, 30))],
    ),
    "a day begun twice": (
        "1 0 * * *", "America/Havana", "2026-11-01", 1, ["01 00:01-0400"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("times, zone, day, days, expected", FORWARD.values(), ids=FORWARD.keys())
def test_the_clock_goes_forward(
    times: str, zone: str, day: str, days: int, expected: list[str]
) -> None:
    assert fired(times, zone, day, days) == expected


@pytest.mark.parametrize("times, zone, day, days, expected", BACK.values(), ids=BACK.keys())
def test_the_clock_goes_back(
    times: str, zone: str, day: str, days: int, expected: list[str]
) -> None:
    assert fired(times, zone, day, days) == expected


def test_a_zone_without_changes_only_shifts() -> None:
    assert fired("0 9 * * 1-5", KOLKATA, "2026-03-28", 4) == ["30 09:00+0530", "31 09:00+0530"]
    assert next_tick(cron("0 9 * * *", KOLKATA), datetime(2026, 3, 1, tzinfo=UTC)) == datetime(
        2026, 3, 1, 3, 30, tzinfo=UTC
    )


def test_utc_by_name_is_utc() -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    for times in ("*/7 3-5 * * *", "*/7 * 2 * *"):
        named, unnamed = (firings(cron(times, zone), start) for zone in ("UTC", None))
        assert [next(named) for _ in range(200)] == [next(unnamed) for _ in range(200)]


def test_what_is_missed_is_made_up_for_by_the_zones_clock() -> None:
    item = cron("30 2 * * *", BERLIN, fill=3 * DAY)
    known = {"t": KnownCrontab(known_since=datetime(2026, 1, 1, tzinfo=UTC))}
    ticks = backfill_ticks([item], known, datetime(2026, 3, 30, 12, tzinfo=UTC))
    assert [f"{tick.timestamp:%d %H:%M}" for tick in ticks] == ["28 01:30", "29 01:00", "30 00:30"]


def test_the_soonest_of_several_zones_is_next() -> None:
    items = [cron("0 9 * * *", zone) for zone in (NEW_YORK, BERLIN, None)]
    assert next_due(items, datetime(2026, 7, 1, tzinfo=UTC)) == datetime(2026, 7, 1, 7, tzinfo=UTC)


@pytest.mark.parametrize("zone", [None, BERLIN])
@pytest.mark.parametrize("times", ["0 0 31 2 *", "* * 31 2 *"])
def test_a_day_that_no_month_has_never_comes(times: str, zone: str | None) -> None:
    assert next_tick(cron(times, zone), datetime(2026, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("times", ["0 0 1 1 *", "* * 1 1 *", "* * * * *"])
@pytest.mark.parametrize("zone", [None, BERLIN, "Pacific/Kiritimati", "Etc/GMT+12"])
def test_time_ends_where_the_calendar_does(times: str, zone: str | None) -> None:
    late = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    assert next_tick(cron(times, zone), late) is None


# Against a clock that is watched minute by minute.

ZONES = [BERLIN, NEW_YORK, LORD_HOWE, KOLKATA, "Africa/Cairo", "America/St_Johns", "Asia/Beirut"]


def offset(moment: datetime, zone: str) -> timedelta | None:
    return moment.astimezone(ZoneInfo(zone)).utcoffset()


DAYS = [datetime(2009, 6, 1, tzinfo=UTC) + day * DAY for day in range(2 * 365)]
CHANGES = {
    zone: [day for day in DAYS if offset(day, zone) != offset(day + DAY, zone)] or DAYS[:1]
    for zone in ZONES
}
"""The days in which each zone's clock changes."""


def watched(item: ParsedCronItem, start: datetime, minutes: int) -> list[datetime]:
    """The firings found by looking at the zone's clock at each minute, keeping what it showed."""
    zone = ZoneInfo(item.options.timezone or "UTC")
    highest = (start - 4 * 60 * MINUTE).astimezone(zone).replace(tzinfo=None)
    found = []
    for n in range(-4 * 60, minutes + 1):
        moment = start + n * MINUTE
        shown = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        if len(item.hours) == 24:
            new = [shown]
        else:
            new = [highest + k * MINUTE for k in range(1, (shown - highest) // MINUTE + 1)]
            highest = max(highest, shown)
        if n > 0 and any(suits(item, each) for each in new):
            found.append(moment)
    return found


def suits(item: ParsedCronItem, wall: datetime) -> bool:
    in_dates, in_dows = wall.day in item.dates, wall.isoweekday() % 7 in item.dows
    either = len(item.dates) < 31 and len(item.dows) < 7
    on_day = (in_dates or in_dows) if either else (in_dates and in_dows)
    in_month = wall.month in item.months
    return on_day and in_month and wall.hour in item.hours and wall.minute in item.minutes


some_minutes = st.sampled_from(["*", "*/7", "0", "1", "15,45", "30-40", "59"])
some_hours = st.sampled_from(["*", "0-23", "0-3", "2", "1,2,3", "23,0", "*/2"])
some_days = st.sampled_from(["* * *", "* * *", "*/2 * *", "* * 0", "* 3,10,11 6,0", "25-31 * 0"])


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(ZONES), some_minutes, some_hours, some_days)
def test_it_fires_when_the_watched_clock_says_so(
    data: st.DataObject, zone: str, minutes: str, hours: str, days: str
) -> None:
    item = cron(f"{minutes} {hours} {days}", zone)
    change = data.draw(st.sampled_from(CHANGES[zone]))
    start = change + data.draw(st.integers(-300, 24 * 60)) * MINUTE
    length = 15 * 60
    ticks = ticks_due([item], start, start + length * MINUTE)
    assert [tick.timestamp for tick in ticks] == watched(item, start, length)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.sampled_from(ZONES), some_minutes, some_hours)
def test_a_minute_matches_if_and_only_if_it_fires(
    data: st.DataObject, zone: str, minutes: str, hours: str
) -> None:
    item = cron(f"{minutes} {hours} * * *", zone)
    start = data.draw(st.sampled_from(CHANGES[zone])) + data.draw(st.integers(0, 1500)) * MINUTE
    ticks = {tick.timestamp for tick in ticks_due([item], start, start + 200 * MINUTE)}
    for n in range(1, 201):
        moment = start + n * MINUTE
        assert matches(item, moment + timedelta(seconds=59)) is (moment in ticks)

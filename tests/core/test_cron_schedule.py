"""Which minutes an item fires in, and which of them are due, late or to be made up for."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kongtask.core.cron.crontab import parse_cron_items
from kongtask.core.cron.item import CronItem, CronItemOptions, ParsedCronItem
from kongtask.core.cron.schedule import (
    CATCH_UP_LIMIT,
    KnownCrontab,
    Tick,
    backfill_ticks,
    matches,
    next_due,
    next_tick,
    resume_point,
    ticks_due,
    ticks_owed,
)

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EXAMPLES = 60 if os.environ.get("KONGTASK_TEST_LONG") else 12
"""Each asks about every minute of a day."""


def cron(times: str, task: str = "t", fill: timedelta = timedelta(0)) -> ParsedCronItem:
    options = CronItemOptions(backfill_period=fill)
    return parse_cron_items([CronItem(task=task, match=times, options=options)])[0]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fired(ticks: tuple[Tick, ...]) -> list[tuple[str, str]]:
    return [(f"{tick.timestamp:%d %H:%M}", "".join(i.task for i in tick.items)) for tick in ticks]


@pytest.mark.parametrize(
    "times, moment, expected",
    [
        ("* * * * *", "2026-03-04T12:34:56", True),
        ("34 12 * * *", "2026-03-04T12:34:56", True),
        ("35 12 * * *", "2026-03-04T12:34:56", False),
        ("* * * * 5-6", "2024-07-05T00:00:00", True),
        ("* * * * 5-6", "2024-07-07T00:00:00", False),
        ("* * * * 7", "2024-07-07T00:00:00", True),
        ("0-5 15 3-4 7 0-2", "2024-07-03T15:00:00", True),
        ("0-5 15 3-4 7 0-2", "2024-07-07T15:05:00", True),
        ("0-5 15 3-4 7 0-2", "2024-07-05T15:00:00", False),
        ("0-5 15 3-4 7 0-2", "2024-08-03T15:00:00", False),
        ("0-5 15 3-4 7 0-2", "2024-07-03T15:06:00", False),
        ("0 0 1-31 * 1", "2024-07-03T00:00:00", False),
        ("0 0 3 * */1", "2024-07-04T00:00:00", False),
    ],
)
def test_a_minute_matches(times: str, moment: str, expected: bool) -> None:
    assert matches(cron(times), at(moment)) is expected


def test_times_are_utc_wherever_the_moment_comes_from() -> None:
    there = timezone(timedelta(hours=5, minutes=30))
    assert matches(cron("0 12 * * *"), NOON.astimezone(there))
    assert next_tick(cron("0 12 * * *"), (NOON - MINUTE).astimezone(there)) == NOON
    with pytest.raises(ValueError, match="time zone"):
        matches(cron("* * * * *"), datetime(2026, 1, 1))


@pytest.mark.parametrize(
    "times, after, expected",
    [
        ("* * * * *", "2026-03-04T12:00:00", "2026-03-04T12:01:00"),
        ("* * * * *", "2026-03-04T12:00:59.999999", "2026-03-04T12:01:00"),
        ("0 12 * * *", "2026-03-04T11:59:59.999999", "2026-03-04T12:00:00"),
        ("0 12 * * *", "2026-03-04T12:00:00", "2026-03-05T12:00:00"),
        ("0 0 29 2 *", "2026-03-04T12:00:00", "2028-02-29T00:00:00"),
        ("0 0 29 2 *", "2096-03-01T00:00:00", "2104-02-29T00:00:00"),
        ("0 0 31 * 3", "2026-03-04T12:00:00", "2026-03-11T00:00:00"),
        ("0 0 31 2 1", "2026-03-04T12:00:00", "2027-02-01T00:00:00"),
        ("0 0 31 4,6 *", "2026-03-04T12:00:00", None),
        ("0 0 30 2 *", "2026-03-04T12:00:00", None),
        ("0 0 1 1 *", "9999-03-04T12:00:00", None),
    ],
)
def test_the_next_minute_is_found(times: str, after: str, expected: str | None) -> None:
    assert next_tick(cron(times), at(after)) == (at(expected) if expected else None)


def some_of(low: int, high: int) -> st.SearchStrategy[str]:
    numbers = st.lists(st.integers(low, high), min_size=1, max_size=4)
    listed = numbers.map(lambda values: ",".join(map(str, values)))
    return st.one_of(st.just("*"), st.integers(1, 9).map(lambda n: f"*/{n}"), listed)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.tuples(some_of(0, 59), some_of(0, 23), some_of(1, 31), some_of(1, 12), some_of(0, 7)),
    st.datetimes(datetime(2024, 1, 1), datetime(2028, 12, 31)),
)
def test_due_minutes_are_those_that_match(fields: tuple[str, ...], start: datetime) -> None:
    item, since = cron(" ".join(fields)), start.replace(tzinfo=UTC)
    until = since + timedelta(hours=23)
    minutes = (since.replace(second=0, microsecond=0) + n * MINUTE for n in range(1, 23 * 60 + 1))
    expected = [minute for minute in minutes if minute <= until and matches(item, minute)]
    assert [tick.timestamp for tick in ticks_due([item], since, until)] == expected
    soon = next_tick(item, since)
    if expected:
        assert soon == expected[0]
    else:
        assert soon is None or (soon > until and matches(item, soon))


def test_ticks_are_ascending_and_keep_the_items_order() -> None:
    items = [cron("*/2 * * * *", "b"), cron("* * * * *", "a")]
    ticks = ticks_due(items, NOON, NOON + 3 * MINUTE)
    assert fired(ticks) == [("04 12:01", "a"), ("04 12:02", "ba"), ("04 12:03", "a")]
    assert not any(tick.backfilled for tick in ticks)


def test_due_minutes_begin_after_since_and_end_with_until() -> None:
    assert fired(ticks_due([cron("* * * * *")], NOON, NOON)) == []
    assert fired(ticks_due([cron("* * * * *")], NOON - MINUTE, NOON)) == [("04 12:00", "t")]
    assert fired(ticks_due([cron("* * * * *")], NOON + MINUTE, NOON)) == []


def test_no_more_than_a_day_is_caught_up() -> None:
    ticks = ticks_due([cron("* * * * *")], NOON - timedelta(days=400), NOON)
    assert ticks[0].timestamp == NOON - CATCH_UP_LIMIT + MINUTE
    assert len(ticks) == 24 * 60


def test_the_soonest_of_all_items_is_next() -> None:
    items = [cron("0 4 * * *"), cron("30 12 * * *"), cron("0 0 31 2 *")]
    assert next_due(items, NOON) == NOON + 30 * MINUTE
    assert next_due([cron("0 0 31 2 *")], NOON) is None
    assert next_due([], NOON) is None


DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def test_only_what_was_known_before_is_made_up_for() -> None:
    items = [cron("0 */4 * * *", "a", DAY), cron("0 */4 * * *", "b", DAY)]
    known = {"b": KnownCrontab(known_since=NOON - 5 * DAY)}
    ticks = backfill_ticks(items, known, NOON + MINUTE)
    assert fired(ticks) == [
        ("03 16:00", "b"), ("03 20:00", "b"), ("04 00:00", "b"),
        ("04 04:00", "b"), ("04 08:00", "b"), ("04 12:00", "b"),
    ]  # fmt: skip
    assert all(tick.backfilled for tick in ticks)


@pytest.mark.parametrize(
    "fill, known, expected",
    [
        (timedelta(0), KnownCrontab(known_since=NOON - DAY), []),
        (4 * HOUR, KnownCrontab(known_since=NOON - DAY), ["08:00"]),
        (4 * HOUR - MINUTE, KnownCrontab(known_since=NOON - DAY), []),
        (DAY, KnownCrontab(known_since=NOON - 8 * HOUR), ["04:00", "08:00"]),
        (DAY, KnownCrontab(known_since=NOON - DAY, last_execution=NOON - 5 * HOUR), ["08:00"]),
        (DAY, KnownCrontab(known_since=NOON + DAY), []),
        (timedelta.max, KnownCrontab(known_since=NOON - 5 * HOUR), ["08:00"]),
    ],
    ids=[
        "without a period nothing",
        "as old as the period",
        "older than the period",
        "from when it became known",
        "from the last execution",
        "known only later",
        "a period longer than time",
    ],
)
def test_made_up_minutes_keep_within(
    fill: timedelta, known: KnownCrontab, expected: list[str]
) -> None:
    ticks = backfill_ticks([cron("0 */4 * * *", "t", fill)], {"t": known}, NOON)
    assert [f"{tick.timestamp:%H:%M}" for tick in ticks] == expected


def test_a_restarted_scheduler_resumes_where_it_stopped() -> None:
    seen = NOON - timedelta(seconds=40)
    assert resume_point(KnownCrontab(known_since=NOON - DAY, last_execution=seen), NOON) == seen


def test_a_scheduler_resumes_no_further_back_than_its_grace() -> None:
    old = KnownCrontab(known_since=NOON - DAY, last_execution=NOON - HOUR)
    assert resume_point(old, NOON) == NOON - timedelta(seconds=90)
    assert resume_point(old, NOON, grace=2 * HOUR) == NOON - HOUR


def test_what_was_not_known_has_missed_nothing() -> None:
    assert resume_point(None, NOON) == NOON
    assert ticks_owed([cron("* * * * *")], {}, NOON) == ()


def test_a_minute_is_owed_until_it_was_enqueued() -> None:
    item, now = cron("0 12 * * *"), NOON + timedelta(seconds=89)
    before = KnownCrontab(known_since=NOON - DAY, last_execution=NOON - DAY)
    after = KnownCrontab(known_since=NOON - DAY, last_execution=NOON)
    assert fired(ticks_owed([item], {"t": before}, now)) == [("04 12:00", "t")]
    assert ticks_owed([item], {"t": after}, now) == ()
    assert ticks_owed([item], {"t": before}, now + timedelta(seconds=2)) == ()


def test_an_item_that_became_known_on_its_minute_fires_in_it() -> None:
    known = {"t": KnownCrontab(known_since=NOON)}
    assert fired(ticks_owed([cron("* * * * *")], known, NOON)) == [("04 12:00", "t")]
    known = {"t": KnownCrontab(known_since=NOON + timedelta(seconds=1))}
    assert ticks_owed([cron("* * * * *")], known, NOON + timedelta(seconds=30)) == ()

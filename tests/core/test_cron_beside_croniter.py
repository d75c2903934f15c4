"""Where the rules agree, firings are those that another implementation finds."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from kongtask.core.cron.calendar import firings
from kongtask.core.cron.crontab import parse_cron_items
from kongtask.core.cron.item import CronItem, CronItemOptions


def values(parts: list[str]) -> set[int]:
    """The numbers that a list of numbers and ranges holds.

    >>> sorted(values(["0", "2-4"]))
    [0, 2, 3, 4]
    """
    ends = [part.partition("-") for part in parts]
    return {n for low, _, high in ends for n in range(int(low), int(high or low) + 1)}


def some_of(low: int, high: int) -> st.SearchStrategy[str]:
    """A star, a step, a range with or without a step, or a list that is not everything."""
    number = st.integers(low, high)
    pair = st.tuples(number, number).map(sorted).filter(lambda pair: pair[0] < pair[1])
    spans = pair.filter(lambda pair: pair[1] - pair[0] < high - low)
    span = spans.map(lambda pair: f"{pair[0]}-{pair[1]}")
    stepped = st.tuples(span, st.integers(1, 9)).map(lambda found: f"{found[0]}/{found[1]}")
    lists = st.lists(st.one_of(number.map(str), span), min_size=1, max_size=3)
    # All days, written otherwise than by a star: a limit for croniter, none for Graphile Worker.
    listed = lists.filter(lambda parts: len(values(parts)) <= high - low).map(",".join)
    return st.one_of(st.just("*"), span, stepped, listed)


fields = st.tuples(some_of(0, 59), some_of(0, 23), some_of(1, 28), some_of(1, 12), some_of(0, 6))
names = st.tuples(
    some_of(0, 59), some_of(0, 23), st.just("*"),
    st.sampled_from(["jan", "FEB-may/2", "jul,dec"]),
    st.sampled_from(["mon-fri", "Sat,sun", "WED"]),
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(st.one_of(fields, names), st.datetimes(datetime(2020, 1, 1), datetime(2030, 12, 31)))
def test_the_next_firings_are_those_of_croniter(fields: tuple[str, ...], start: datetime) -> None:
    times = " ".join(fields)
    (item,) = parse_cron_items([CronItem(task="t", match=times)])
    after = start.replace(tzinfo=UTC)
    other = croniter(times, after, ret_type=datetime)
    assert list(islice(firings(item, after), 20)) == [other.get_next() for _ in range(20)]


@pytest.mark.parametrize(
    "macro", ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"]
)
def test_macros_are_those_of_croniter(macro: str) -> None:
    (item,) = parse_cron_items([CronItem(task="t", match=macro)])
    after = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
    other = croniter(macro, after, ret_type=datetime)
    assert list(islice(firings(item, after), 20)) == [other.get_next() for _ in range(20)]


@settings(max_examples=40, deadline=None)
@given(fields, st.datetimes(datetime(2020, 1, 1), datetime(2030, 12, 31)))
def test_in_a_zone_without_changes_too(fields: tuple[str, ...], start: datetime) -> None:
    times, zone = " ".join(fields), ZoneInfo("Asia/Kathmandu")
    options = CronItemOptions(timezone=zone.key)
    (item,) = parse_cron_items([CronItem(task="t", match=times, options=options)])
    after = start.replace(tzinfo=zone)
    other = croniter(times, after, ret_type=datetime)
    assert list(islice(firings(item, after), 10)) == [other.get_next() for _ in range(10)]

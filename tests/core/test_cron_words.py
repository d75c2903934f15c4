"""Recurring jobs in words."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest

from kongtask.core.cron.calendar import upcoming
from kongtask.core.cron.crontab import parse_crontab
from kongtask.core.cron.words import item_in_words


@pytest.mark.parametrize(
    "line, words",
    [
        ("* * * * * t", "every minute"),
        ("*/1 * * * * t", "every minute"),
        ("*/20 * * * * t", "every 20 minutes"),
        ("*/7 * * * * t", "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"),
        ("5 * * * * t", "at minute 5 of every hour"),
        ("* 3 * * * t", "every minute of the hour 3"),
        ("10-12,20 1-3 * * * t", "at minutes 10 to 12 and 20 of the hours 1 to 3"),
        ("0 4 * * * t", "at 04:00, every day"),
        ("0,30 4,16 * * 0,6 t", "at 04:00, 04:30, 16:00 and 16:30, on Sunday and Saturday"),
        ("0 4 * 2 * t", "at 04:00, every day, in February"),
        ("0 4 1-5,7 * * t", "at 04:00, on day 1 to 5 and 7 of the month"),
        ("0 4 1 */3 1-3 t",
         "at 04:00, on day 1 of the month or on Monday to Wednesday, "
         "in January, April, July and October"),
        ("0 4 * * * t ?fill=1w1s",
         "at 04:00, every day (UTC), missed firings made up for within 1 week 1 second"),
    ],
)  # fmt: skip
def test_a_line_is_put_in_words(line: str, words: str) -> None:
    expected = words if "(UTC)" in words else f"{words} (UTC)"
    assert item_in_words(parse_crontab(line)[0]) == f"t: {expected}"


def test_firings_of_several_lines_come_in_order() -> None:
    items = parse_crontab("0 * * * * b\n*/30 * * * * a\n0 0 30 2 * never")
    found = islice(upcoming(items, datetime(2026, 1, 1, tzinfo=UTC)), 5)
    assert [(f"{moment:%H:%M}", item.task) for moment, item in found] == [
        ("00:30", "a"), ("01:00", "b"), ("01:00", "a"), ("01:30", "a"), ("02:00", "b"),
    ]  # fmt: skip

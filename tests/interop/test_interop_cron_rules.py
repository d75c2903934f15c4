"""Crontabs that Graphile Worker reads mean the same here: their lines, and when they fire.

One process of Node answers all questions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import pytest
from graphile import Graphile
from hosting import Host
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kongtask.core.cron.calendar import firings
from kongtask.core.cron.crontab import CrontabError, parse_cron_items, parse_crontab
from kongtask.core.cron.item import CronItem, ParsedCronItem

MINUTE = timedelta(minutes=1)
TEN_YEARS = 3653
DECADES = 80 if os.environ.get("KONGTASK_TEST_LONG") else 20
START = datetime(2022, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def cron_host(node: Graphile) -> Iterator[Host]:
    host = Host(node.node, program="cron_host.mjs")
    yield host
    host.end()


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(sorted).filter(lambda pair: pair[0] < pair[1])
    item = st.one_of(
        number.map(str),
        span.map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.just("*"),
        st.integers(1, high + 5).map(lambda step: f"*/{step}"),
    )
    return st.one_of(st.just("*"), st.lists(item, min_size=1, max_size=3).map(",".join))


days = st.tuples(field(1, 31), field(1, 12), field(0, 7)).map(" ".join)
times = st.tuples(field(0, 59), field(0, 23), days).map(" ".join)


def ours(match: str, first: datetime, end: datetime) -> list[int]:
    (item,) = parse_cron_items([CronItem(task="t", match=match)])
    moments = takewhile(lambda moment: moment < end, firings(item, first - MINUTE))
    return [int((moment - EPOCH) // MINUTE) for moment in moments]


def theirs(host: Host, match: str, first: datetime, step: int, count: int) -> list[int]:
    start = int((first - EPOCH) // MINUTE)
    question = {"times": match, "from": start, "step": step, "count": count}
    return list(host.call_now("fires", **question))


@settings(max_examples=80, deadline=None)
@given(times, st.integers(0, TEN_YEARS * 1440))
def test_every_minute_of_a_week_fires_alike(cron_host: Host, match: str, offset: int) -> None:
    first, count = START + offset * MINUTE, 7 * 1440
    assert ours(match, first, first + count * MINUTE) == theirs(cron_host, match, first, 1, count)


@settings(max_examples=DECADES, deadline=None)
@given(days)
@example("13 * 5")
@example("29 2 *")
@example("31 4,5 7")
@example("* 6 1-5")
def test_every_day_of_ten_years_fires_alike(cron_host: Host, days: str) -> None:
    at_four = f"30 4 {days}"
    first = START + timedelta(hours=4, minutes=30)
    found = theirs(cron_host, at_four, first, 1440, TEN_YEARS)
    assert ours(at_four, first, first + timedelta(days=TEN_YEARS)) == found


word = st.text("abcXYZ_019", min_size=1, max_size=8)
option = st.one_of(
    word.map("id={}".format),
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from("smhdw")), max_size=3).map(
        lambda parts: "fill=" + "".join(f"{n}{unit}" for n, unit in parts)
    ),
    st.integers(0, 40_000).map("max={}".format),
    st.integers(-40_000, 40_000).map("priority={}".format),
    st.one_of(word, word.map("{}:x-y".format), word.map("{}%20x".format)).map("queue={}".format),
    st.one_of(word, st.sampled_from(["", "a+b", "%C3%A9", "a%2Bb"])).map("jobKey={}".format),
    st.sampled_from(["jobKeyMode=replace", "jobKeyMode=preserve_run_at", "jobKeyMode=no"]),
)
payload = st.sampled_from(
    ["", "{}", "{a: 1,}", "{'b c': [0x10, +1, .5], /* d */ \"e\": null}", "{a: 'é\\u0041'}", "{a}",
     "{a: 1} x", "x", "{a: {b: [{}]}} "]
)  # fmt: skip
line = st.builds(
    "{}{} {}{} {}{}".format,
    st.sampled_from(["", "  ", "# "]),
    st.one_of(times, times, st.sampled_from(["* * * *", "60 * * * *", "*,,1 * * * *"])),
    st.one_of(word, st.sampled_from(["a:b/c-d", "a.b"])),
    st.lists(option, max_size=3).map(lambda all: " ?" + "&".join(all) if all else ""),
    payload,
    st.sampled_from(["", "\r", "\t"]),
)
crontab = st.lists(line, min_size=1, max_size=3).map("\n".join)

STRICTER = (
    "must be between", "must have 1 to", "option max cannot be", "option priority cannot be",
    "option jobKeyMode",
)  # fmt: skip
"""What is refused here because the database would refuse it, at each firing and for ever."""


@settings(max_examples=60, deadline=None)
@given(st.lists(crontab, min_size=20, max_size=20))
def test_crontabs_say_the_same(cron_host: Host, crontabs: list[str]) -> None:
    for text, found in zip(crontabs, cron_host.call_now("parse", crontabs=crontabs), strict=True):
        read = read_or_refused(text)
        if isinstance(read, str):
            assert found is None or any(word in read for word in STRICTER), text
        else:
            assert found is not None, text
            assert [in_their_words(item) for item in read] == [unified(each) for each in found]


def read_or_refused(text: str) -> tuple[ParsedCronItem, ...] | str:
    try:
        return parse_crontab(text)
    except CrontabError as error:
        return str(error)


def in_their_words(item: ParsedCronItem) -> dict[str, Any]:
    options = {
        "backfillPeriod": item.options.backfill_period / timedelta(milliseconds=1),
        "maxAttempts": item.options.max_attempts,
        "queueName": item.options.queue_name,
        "priority": item.options.priority,
        "jobKey": item.options.job_key,
        "jobKeyMode": item.options.job_key_mode,
    }
    return {
        "task": item.task, "identifier": item.identifier, "payload": item.payload,
        "minutes": list(item.minutes), "hours": list(item.hours), "dates": list(item.dates),
        "months": list(item.months), "dows": list(item.dows),
        "options": {name: value for name, value in options.items() if value is not None},
    }  # fmt: skip


def unified(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "payload": item["payload"] or {}}

"""Crontabs become items, or a mistake with its line and column."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongtask.core.cron import (
    CronItem,
    CronItemOptions,
    CrontabError,
    ParsedCronItem,
    parse_cron_items,
    parse_crontab,
)
from kongtask.core.cron.crontab import EXCERPT
from kongtask.errors import ConfigurationError

EVERY = {
    "minutes": tuple(range(60)),
    "hours": tuple(range(24)),
    "dates": tuple(range(1, 32)),
    "months": tuple(range(1, 13)),
    "dows": tuple(range(7)),
}


def item(task: str, **values: Any) -> ParsedCronItem:
    return ParsedCronItem(**{"task": task, "identifier": task, **EVERY, **values})


SAMPLE = """\
# a comment with * * * * * in it

* * * * * simple
0 4 * * * daily
0 4 * * 0 sunday_as_zero ?id=zero
0 4 * * 7 sunday_as_seven ?id=seven
  \t1  2\t3 4 *    spaces   ?id=wide     {a: 1}  \r
*/15,7 0,12 1-3,31 */5 1,3-4 mixed ?id=mixed&fill=4w3d2h1m&max=3&queue=my_q:a-b&priority=-4 \
{on: ['tues', "# no comment",], deep: {n: 0x10}, /* c */}
30 4 * * 1 keyed ?jobKey=my%20key+x&id=keyed
30 4 * * 1 kept ?jobKey=k&jobKeyMode=preserve_run_at
0 0 1 1 * folder/sub:task-1 {}
"""


def test_a_whole_crontab_is_read() -> None:
    assert parse_crontab(SAMPLE) == (
        item("simple"),
        item("daily", minutes=(0,), hours=(4,)),
        item("sunday_as_zero", identifier="zero", minutes=(0,), hours=(4,), dows=(0,)),
        item("sunday_as_seven", identifier="seven", minutes=(0,), hours=(4,), dows=(0,)),
        item(
            "spaces", identifier="wide", minutes=(1,), hours=(2,), dates=(3,), months=(4,),
            payload={"a": 1},
        ),
        item(
            "mixed", identifier="mixed", minutes=(0, 7, 15, 30, 45), hours=(0, 12),
            dates=(1, 2, 3, 31), months=(1, 6, 11), dows=(1, 3, 4),
            payload={"on": ["tues", "# no comment"], "deep": {"n": 16}},
            options=CronItemOptions(
                backfill_period=timedelta(weeks=4, days=3, hours=2, minutes=1),
                max_attempts=3, queue_name="my_q:a-b", priority=-4,
            ),
        ),
        item(
            "keyed", minutes=(30,), hours=(4,), dows=(1,),
            options=CronItemOptions(job_key="my key x", job_key_mode="replace"),
        ),
        item(
            "kept", minutes=(30,), hours=(4,), dows=(1,),
            options=CronItemOptions(job_key="k", job_key_mode="preserve_run_at"),
        ),
        item("folder/sub:task-1", minutes=(0,), hours=(0,), dates=(1,), months=(1,)),
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "\n", "# only\r\n  # comments\n", "\ufeff"])
def test_a_crontab_without_lines_has_no_items(text: str) -> None:
    assert parse_crontab(text) == ()


@pytest.mark.parametrize(
    "field, column, text, values",
    [
        ("minutes", 0, "*/20", (0, 20, 40)),
        ("minutes", 0, "*/1", tuple(range(60))),
        ("minutes", 0, "*/100", (0,)),
        ("minutes", 0, "059,0", (0, 59)),
        ("hours", 1, "22-23,1", (1, 22, 23)),
        ("dates", 2, "*/10", (1, 11, 21, 31)),
        ("months", 3, "1-3,2,12", (1, 2, 3, 12)),
        ("dows", 4, "5-7", (0, 5, 6)),
        ("dows", 4, "0-7", tuple(range(7))),
        ("dows", 4, "*/2", (0, 2, 4, 6)),
    ],
)
def test_a_field_stands_for_sorted_numbers(
    field: str, column: int, text: str, values: tuple[int, ...]
) -> None:
    fields = ["*"] * 5
    fields[column] = text
    (parsed,) = parse_crontab(" ".join(fields) + " task")
    assert getattr(parsed, field) == values


MISTAKES = {
    "too few words": ("* * * *", 1, "has five time fields and a task, here are 4 words"),
    "no task": ("* * * * *", 1, "here are 5 words"),
    "minute too large": (
        "61 * * * * t", 1, "minute 61 is out of range 0-59: write a number from 0 to 59",
    ),
    "second item too large": ("1,60 * * * * t", 3, "minute 60 is out of range"),
    "hour too large in range": ("* 3-24 * * * t", 5, "hour 24 is out of range 0-23"),
    "day of month zero": ("* * 0 * * t", 5, "day of month 0 is out of range 1-31"),
    "month thirteen": ("* * * 13 * t", 7, "month 13 is out of range 1-12"),
    "day of week eight": ("* * * * 8 t", 9, "day of week 8 is out of range 0-7"),
    "a number without end": (f"{'9' * 5000} * * * * t", 1, "is out of range 0-59"),
    "range that goes down": ("5-3 * * * * t", 1, "minute range 5-3 does not go up"),
    "range of one": ("5-5 * * * * t", 1, "minute range 5-5 does not go up"),
    "step zero": ("*/0 * * * * t", 1, "minute step */0 is never: write */1 or more"),
    "step of a range": ("1-10/4 * * * * t", 1, "steps something other than *: write 1,5,9"),
    "step of a number": ("* 20/2 * * * t", 3, "write 20,22"),
    "empty item": ("1,,2 * * * * t", 3, "minute has an empty item: remove the extra comma"),
    "name of a month": ("0 0 1 jan * t", 7, "'jan' is a name: write a number; January is 1"),
    "name of a day": ("0 0 * * MON-FRI t", 9, "write a number; Sunday is 0 or 7"),
    "last day": ("0 0 L * * t", 5, "day of month 'L' is not understood: write numbers"),
    "other digits": ("٣ * * * * t", 1, "is not understood"),
    "macro": ("  @daily t", 3, "'@daily' are not supported: write `0 0 * * *`"),
    "time zone": ("CRON_TZ=Europe/Berlin", 1, "remove the line; all times are UTC"),
    "seconds": ("0 0 4 * * * t", 11, "(there are no seconds and no years)"),
    "task with a dot": ("* * * * * a.b", 11, "'a.b' cannot name a task"),
    "task too long": (f"* * * * * {'t' * 129}", 11, "task must have 1 to 128 characters, got 129"),
    "two words": ("* * * * * two words", 15, "'words' is not understood"),
    "payload without a space": ("* * * * * t{a:1}", 11, "then a space"),
    "unknown option": (
        "* * * * * t ?id=a&unknown=1", 19,
        "option 'unknown' is unknown: write one of "
        "id, fill, max, queue, jobKey, jobKeyMode, priority",
    ),
    "option of every object": ("* * * * * t ?constructor=1", 14, "is unknown"),
    "no options": ("* * * * * t ?", 13, "options are missing"),
    "option twice": ("* * * * * t ?max=1&max=2", 20, "option max is given twice"),
    "id with a digit first": ("* * * * * t ?id=1a", 14, "option id cannot be '1a'"),
    "fill without a unit": ("* * * * * t ?fill=4", 14, "option fill cannot be '4'"),
    "fill with a decimal": ("* * * * * t ?fill=1.5h", 14, "such as 1d12h"),
    "fill without end": (f"* * * * * t ?fill={'9' * 5000}w", 14, "option fill cannot be"),
    "max zero": ("* * * * * t ?max=0", 14, "must be between 1 and 32767, got 0"),
    "max too large": ("* * * * * t ?max=32768", 14, "option max cannot be '32768'"),
    "max without a number": ("* * * * * t ?max", 14, "write a number from 1 to 32767"),
    "priority with a plus": ("* * * * * t ?priority=%2B1", 14, "option priority cannot be '+1'"),
    "priority too low": ("* * * * * t ?priority=-32769", 14, "from -32768 to 32767"),
    "queue with a space": ("* * * * * t ?queue=a+b", 14, "option queue cannot be 'a b'"),
    "queue too long": (f"* * * * * t ?queue={'q' * 129}", 14, "128 characters, got 129"),
    "job key empty": ("* * * * * t ?jobKey=", 14, "must have 1 to 512 characters, got 0"),
    "job key with NUL": ("* * * * * t ?jobKey=a%00", 14, "job_key must not hold NUL"),
    "mode of another world": (
        "* * * * * t ?jobKey=a&jobKeyMode=unsafe_dedupe", 23, "write replace or preserve_run_at",
    ),
    "payload not closed": ("* * * * * t {a: 1", 17, "the payload does not end with }"),
    "payload not JSON5": ("* * * * * t {a: 1 b}", 19, "the payload is not JSON5"),
    "payload twice": ("* * * * * t {a: 1} {b: 2}", 20, "the payload is not JSON5"),
    "payload infinite": ("* * * * * t {a: Infinity}", 13, "cannot be stored as JSON"),
    "options after the payload": ("* * * * * t {a: 1} ?id=b", 24, "does not end with }"),
}  # fmt: skip


@pytest.mark.parametrize("line, column, message", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_with_its_place(line: str, column: int, message: str) -> None:
    with pytest.raises(CrontabError) as caught:
        parse_crontab(f"# first\n* * * * * fine\n{line}\nnever read")
    error = caught.value
    assert isinstance(error, ConfigurationError)
    assert (error.line, error.column) == (3, column)
    assert str(error).startswith(f"crontab line 3, column {column}: ")
    assert message in str(error)
    assert error.excerpt.split("\n") == [line[:EXCERPT], " " * (column - 1) + "^"]


def test_the_caret_stands_under_the_mistake_behind_tabs() -> None:
    with pytest.raises(CrontabError) as caught:
        parse_crontab("*\t*\t99 * * t")
    assert caught.value.excerpt == "*\t*\t99 * * t\n \t \t^"


def test_an_identifier_given_twice_is_an_error_at_the_second() -> None:
    with pytest.raises(CrontabError, match=r"line 2, column 11: identifier 'a' is given twice"):
        parse_crontab("* * * * * a\n1 * * * * a")
    with pytest.raises(CrontabError, match=r"line 2, column 20: .*with \?id= in a crontab"):
        parse_crontab("* * * * * a\n1 * * * * b ?max=1&id=a")


def test_the_excerpt_of_a_long_line_shows_the_mistake_and_no_more() -> None:
    with pytest.raises(CrontabError) as caught:
        parse_crontab(f"* * * * * t {{a: '{'x' * 100_000}'}} wrong")
    line, caret = caught.value.excerpt.split("\n")
    assert len(line) <= EXCERPT
    assert line[len(caret) - 1] == "g"


def test_an_item_is_checked_and_written_out() -> None:
    options = CronItemOptions(backfill_period=timedelta(hours=1), job_key="k")
    given_items = [
        CronItem(task="a.b", match="0 4 * * *", payload={"x": [1]}, options=options),
        CronItem(task="a.b", pattern="0 5 * * *", identifier="later"),
    ]
    assert parse_cron_items(given_items) == (
        item("a.b", minutes=(0,), hours=(4,), payload={"x": [1]}, options=options),
        item("a.b", identifier="later", minutes=(0,), hours=(5,)),
    )


def test_match_wins_over_pattern() -> None:
    both = CronItem(task="t", match="1 * * * *", pattern="2 * * * *")
    assert parse_cron_items([both])[0].minutes == (1,)


BAD_ITEMS = {
    "no times": (CronItem(task="t"), "match '' has 0 fields"),
    "a whole line": (CronItem(task="t", match="* * * * * t"), "has 6 fields"),
    "out of range": (CronItem(task="t", match="* 24 * * *"), "column 3: hour 24 is out of range"),
    "no task": (CronItem(task="", match="* * * * *"), "task must be a non-empty string"),
    "no attempts": (
        CronItem(task="t", match="* * * * *", options=CronItemOptions(max_attempts=0)),
        "max_attempts must be between 1 and 32767",
    ),
    "empty key": (
        CronItem(task="t", match="* * * * *", options=CronItemOptions(job_key="")),
        "job_key must have 1 to 512",
    ),
    "empty identifier": (
        CronItem(task="t", match="* * * * *", identifier=""), "identifier must have 1 to 512",
    ),
    "payload not JSON": (
        CronItem(task="t", match="* * * * *", payload={"a": object()}), "cannot be stored as JSON",
    ),
    "period below zero": (
        CronItem(
            task="t", match="* * * * *",
            options=CronItemOptions(backfill_period=timedelta(seconds=-1)),
        ),
        "backfill_period must be a timedelta of 0 or more",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bad, message", BAD_ITEMS.values(), ids=BAD_ITEMS.keys())
def test_a_wrong_item_is_named_with_its_place(bad: CronItem, message: str) -> None:
    fine = CronItem(task="fine", match="* * * * *")
    with pytest.raises(CrontabError) as caught:
        parse_cron_items([fine, bad])
    assert str(caught.value).startswith("cron item 2 (")
    assert message in str(caught.value)


def test_items_with_one_identifier_are_refused() -> None:
    twice = [CronItem(task="t", match="1 * * * *"), CronItem(task="t", match="2 * * * *")]
    with pytest.raises(CrontabError, match="identifier 't' is given twice"):
        parse_cron_items(twice)


@given(st.text(alphabet="0159*/-,? &=%@#{}:'\"[]_atfillmaxid\t\n\r\0é٣\ufeff", max_size=60))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    for crontab in (text, "* * * * * t " + text):
        with suppress(CrontabError):
            parse_crontab(crontab)

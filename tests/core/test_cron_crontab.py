"""Crontabs become items, or a mistake with its line and column."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kongtask.core.cron.crontab import EXCERPT, CrontabError, parse_cron_items, parse_crontab
from kongtask.core.cron.item import CronItem, CronItemOptions, ParsedCronItem
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
        ("minutes", 0, "10-50/20,3", (3, 10, 30, 50)),
        ("hours", 1, "9-17/100", (9,)),
        ("months", 3, "jan,MAR-may", (1, 3, 4, 5)),
        ("months", 3, "2-Dec/5", (2, 7, 12)),
        ("dows", 4, "mon-fri", (1, 2, 3, 4, 5)),
        ("dows", 4, "fri-sun", (0, 5, 6)),
        ("dows", 4, "SUN,sat", (0, 6)),
        ("dows", 4, "1-7/2", (0, 1, 3, 5)),
    ],
)
def test_a_field_stands_for_sorted_numbers(
    field: str, column: int, text: str, values: tuple[int, ...]
) -> None:
    fields = ["*"] * 5
    fields[column] = text
    (parsed,) = parse_crontab(" ".join(fields) + " task")
    assert getattr(parsed, field) == values


@pytest.mark.parametrize(
    "macro, fields",
    [
        ("@yearly", "0 0 1 1 *"),
        ("@ANNUALLY", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
    ],
)
def test_a_macro_stands_for_five_fields(macro: str, fields: str) -> None:
    rest = " task ?id=x&tz=Europe/Berlin {a: 1}"
    assert parse_crontab(macro + rest) == parse_crontab(fields + rest)
    assert parse_cron_items([CronItem(task="t", match=macro)])[0] == parse_crontab(fields + " t")[0]


@pytest.mark.parametrize(
    "written, name",
    [("Europe/Berlin", "Europe/Berlin"), ("Etc/GMT%2B5", "Etc/GMT+5"), ("Etc/GMT+5", "Etc/GMT+5")],
)
def test_a_line_has_a_time_zone(written: str, name: str) -> None:
    (parsed,) = parse_crontab(f"@daily t ?tz={written}")
    assert parsed.options.timezone == name
    assert str(parsed.zone) == name
    assert parse_crontab("@daily t")[0].zone is None


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
    "step zero": ("*/0 * * * * t", 2, "minute step '*/0' is never: write /1 or more"),
    "step zero of a range": ("* 1-5/0 * * * t", 6, "hour step '1-5/0' is never"),
    "step of a number": ("* 20/2 * * * t", 3, "write 20-23/2, or 20 alone"),
    "step of the last number": ("* 23/2 * * * t", 3, "steps a number: write 23 alone"),
    "empty item": ("1,,2 * * * * t", 3, "minute has an empty item: remove the extra comma"),
    "name of a month in full": ("0 0 1 june * t", 7, "'june' is not understood: write numbers, "),
    "name of a day for a month": ("0 0 * mon * t", 7, "names such as feb"),
    "second name unknown": ("0 0 * * mon-fry t", 13, "names such as mon"),
    "names for minutes": ("mon * * * * t", 1, "write numbers, ranges"),
    "names that go down": ("0 0 * * fri-mon t", 9, "range fri-mon does not go up"),
    "month out of range": ("0 0 * 0 * t", 7, "write a number from 1 to 12, or a name from jan to"),
    "last day": ("0 0 L * * t", 5, "day of month 'L' is not understood: write numbers"),
    "other digits": ("٣ * * * * t", 1, "is not understood"),
    "macro unknown": ("  @reboot t", 3, "'@reboot' is unknown: write one of @yearly, @annually"),
    "macro alone": ("  @daily", 3, "has one such as @daily and a task, here is one word"),
    "time zone of the file": ("CRON_TZ=Europe/Berlin", 1, "written ?tz=Europe/Berlin after"),
    "time zone misspelt": ("@daily t ?tz=Europe/Berlni", 11, "did you mean Europe/Berlin"),
    "time zone in small letters": ("@daily t ?tz=europe/berlin", 11, "mean Europe/Berlin?"),
    "time zone by its city": ("@daily t ?tz=new+york", 11, "did you mean America/New_York?"),
    "time zone missing": ("@daily t ?tz=", 11, "there is no time zone ''"),
    "time zone of the machine": ("@daily t ?tz=localtime", 11, "no time zone 'localtime'"),
    "time zone that is a folder": ("@daily t ?tz=Europe", 11, "no time zone 'Europe'"),
    "time zone out of the folder": ("@daily t ?tz=../etc/passwd", 11, "there is no time zone"),
    "time zone twice": ("@daily t ?tz=UTC&tz=UTC", 18, "option tz is given twice"),
    "seconds": ("0 0 4 * * * t", 11, "(there are no seconds and no years)"),
    "task with a dot": ("* * * * * a.b", 11, "'a.b' cannot name a task"),
    "task too long": (f"* * * * * {'t' * 129}", 11, "task must have 1 to 128 characters, got 129"),
    "two words": ("* * * * * two words", 15, "'words' is not understood"),
    "payload without a space": ("* * * * * t{a:1}", 11, "then a space"),
    "unknown option": (
        "* * * * * t ?id=a&unknown=1", 19,
        "option 'unknown' is unknown: write one of "
        "id, fill, max, queue, jobKey, jobKeyMode, priority, tz",
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
    "unknown time zone": (
        CronItem(task="t", match="* * * * *", options=CronItemOptions(timezone="Berlin")),
        "no time zone 'Berlin', did you mean Europe/Berlin?: write a timezone such as",
    ),
    "time zone of another kind": (
        CronItem(task="t", match="* * * * *", options=CronItemOptions(timezone=1)),  # type: ignore[arg-type]
        "there is no time zone 1",
    ),
    "unknown macro": (CronItem(task="t", match="@never"), "column 1: '@never' is unknown"),
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

"""The `?options` of a crontab line, read like the query of a URL, and what each may be.

Every value is checked here, so that no line can be accepted that the database would refuse later.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import unquote_plus

from kongtask.core.cron.fields import CrontabFault, clipped, pieces, small_number
from kongtask.core.cron.item import CronItemOptions
from kongtask.core.cron.zones import UnknownZone, zone_name
from kongtask.core.task_spec import TaskSpec, check_job
from kongtask.errors import InvalidJob

_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LineOptions:
    """The options of one line; `identifier` stands where it was written, if it was."""

    identifier: str | None = None
    identifier_offset: int = 0
    options: CronItemOptions = field(default_factory=CronItemOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    field: str
    form: re.Pattern[str]
    expected: str
    read: Callable[[str], Any] = str


def _number(text: str) -> int:
    return -small_number(text[1:]) if text.startswith("-") else small_number(text)


def _period(phrase: str) -> timedelta:
    parts = re.findall(r"([0-9]+)([smhdw])", phrase)
    return sum((small_number(n) * _UNITS[unit] for n, unit in parts), timedelta(0))


_RULES: dict[str, _Rule] = {
    "id": _Rule(
        field="identifier",
        form=re.compile(r"[A-Za-z_][A-Za-z0-9_-]*"),
        expected="a letter or _, then letters, digits, _ and -",
    ),
    "fill": _Rule(
        field="backfill_period",
        form=re.compile(r"(?:[0-9]+[smhdw])+"),
        expected="a period of numbers with the units s, m, h, d and w, such as 1d12h",
        read=_period,
    ),
    "max": _Rule(
        field="max_attempts",
        form=re.compile(r"[0-9]+"),
        expected="a number from 1 to 32767",
        read=_number,
    ),
    "queue": _Rule(
        field="queue_name",
        form=re.compile(r"[A-Za-z0-9_:-]+"),
        expected="letters, digits, _, - and :",
    ),
    "jobKey": _Rule(
        field="job_key",
        form=re.compile(r"(?s).*"),
        expected="1 to 512 characters",
    ),
    "jobKeyMode": _Rule(
        field="job_key_mode",
        form=re.compile(r"replace|preserve_run_at"),
        expected="replace or preserve_run_at",
    ),
    "priority": _Rule(
        field="priority",
        form=re.compile(r"-?[0-9]+"),
        expected="a number from -32768 to 32767",
        read=_number,
    ),
    "tz": _Rule(
        field="timezone",
        form=re.compile(r"(?s).*"),
        expected="a time zone such as Europe/Berlin, or leave it out for UTC",
        # A plus that was not escaped reads as a blank.
        read=lambda text: zone_name(re.sub(r"(?<=GMT) (?=[0-9])", "+", text)),
    ),
}
_CHECKED_WITH_JOBS = frozenset(TaskSpec.__dataclass_fields__)


def parse_options(text: str, offset: int = 0) -> LineOptions:
    """Read the text after the question mark; raises `CrontabFault` at the first wrong option.

    >>> parse_options("fill=1h&max=3").options.max_attempts
    3
    """
    if not text:
        raise CrontabFault(offset - 1, "options are missing: write some after the ?, or remove it")
    values: dict[str, Any] = {}
    offsets: dict[str, int] = {}
    for at, piece in pieces(text, "&"):
        if not piece:
            continue
        key, _, value = (unquote_plus(part) for part in piece.partition("="))
        rule = _rule(key, offset + at)
        if rule.field in values:
            raise CrontabFault(offset + at, f"option {key} is given twice: keep one of them")
        values[rule.field] = _value(key, rule, value, offset + at)
        offsets[rule.field] = offset + at
    if values.get("job_key") is not None:
        values.setdefault("job_key_mode", "replace")
    return LineOptions(
        identifier=values.pop("identifier", None),
        identifier_offset=offsets.get("identifier", 0),
        options=CronItemOptions(**values),
    )


def _rule(key: str, offset: int) -> _Rule:
    if key not in _RULES:
        raise CrontabFault(
            offset, f"option {clipped(key)} is unknown: write one of {', '.join(_RULES)}"
        )
    return _RULES[key]


def _value(key: str, rule: _Rule, text: str, offset: int) -> Any:
    if not rule.form.fullmatch(text):
        raise CrontabFault(offset, f"option {key} cannot be {clipped(text)}: write {rule.expected}")
    try:
        value = rule.read(text)
        if rule.field in _CHECKED_WITH_JOBS:
            check_job("task", TaskSpec(**{rule.field: value}))
    except (InvalidJob, UnknownZone, OverflowError) as error:
        raise CrontabFault(
            offset, f"option {key} cannot be {clipped(text)} ({error}): write {rule.expected}"
        ) from error
    return value

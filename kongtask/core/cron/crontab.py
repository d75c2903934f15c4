"""Reading crontabs: Graphile Worker's grammar and some more, each mistake named with its place.

Beyond that grammar there are names of months and days, steps of ranges, macros such as @daily and
a time zone for each line. It refuses seconds and settings for whole files. The first mistake ends
the reading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from kongtask.core.cron.cron_options import LineOptions, parse_options
from kongtask.core.cron.fields import FIELDS, CrontabFault, clipped, expand
from kongtask.core.cron.item import CronItem, CronItemOptions, ParsedCronItem
from kongtask.core.cron.zones import UnknownZone, zone_name
from kongtask.core.task_spec import check_job, is_text
from kongtask.errors import ConfigurationError, InvalidJob, shown

MAX_CRON_IDENTIFIER = 512
"""Characters of an identifier; longer ones might not fit into the index that keeps them apart."""

EXCERPT = 160
"""Characters of a line that are shown with a caret below."""

_TASK = re.compile(r"[A-Za-z_][A-Za-z0-9_:/-]*")
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""What may stand in place of the five fields."""

_EXAMPLE = "write for example `30 4 * * 1 send_report ?fill=1d {to: 'all'}`"


class CrontabError(ConfigurationError):
    """A recurring job is written wrongly.

    line: where the mistake is, from 1; for items given one by one, the item's place.
    column: where in the line, from 1.
    excerpt: the text with a caret under the mistake.

    >>> try:
    ...     parse_crontab("0 25 * * * report")
    ... except CrontabError as error:
    ...     print(error.line, error.column)
    ...     print(error.excerpt)
    1 3
    0 25 * * * report
      ^
    """

    def __init__(self, place: str, line: int, column: int, message: str, source: str) -> None:
        super().__init__(f"{place}, column {column}: {message}")
        self.line = line
        self.column = column
        begin = max(0, column - 1 - EXCERPT // 2)
        shown = source[begin : begin + EXCERPT]
        blank = re.sub(r"[^\t]", " ", shown[: column - 1 - begin])
        self.excerpt = f"{shown}\n{blank}^"


def parse_crontab(text: str) -> tuple[ParsedCronItem, ...]:
    """Read a crontab file's text; raises `CrontabError` at its first mistake.

    >>> parse_crontab("0 4 * * *  send_report  ?max=3")[0].hours
    (4,)
    >>> parse_crontab("61 * * * * send_report")
    Traceback (most recent call last):
    kongtask.core.cron.crontab.CrontabError: crontab line 1, column 1: minute 61 is out of range \
0-59: write a number from 0 to 59
    """
    if not isinstance(text, str):
        raise CrontabError("crontab", 1, 1, f"it must be text, got {shown(text)}", "")
    items: dict[str, ParsedCronItem] = {}
    for number, line in enumerate(re.split(r"\r?\n", text.removeprefix("\ufeff")), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            item = _parse_line(line, items)
        except CrontabFault as fault:
            place, column = f"crontab line {number}", fault.offset + 1
            raise CrontabError(place, number, column, str(fault), line) from fault
        items[item.identifier] = item
    return tuple(items.values())


def parse_cron_items(items: Iterable[CronItem]) -> tuple[ParsedCronItem, ...]:
    """Check recurring jobs and write out their times; raises `CrontabError` at the first mistake.

    >>> parse_cron_items([CronItem(task="send_report", match="*/30 4 * * *")])[0].minutes
    (0, 30)
    """
    parsed: dict[str, ParsedCronItem] = {}
    for number, item in enumerate(items, 1):
        try:
            one = _parse_item(item, parsed)
        except CrontabFault as fault:
            name = shown(getattr(item, "task", item))
            place, column = f"cron item {number} ({name})", fault.offset + 1
            written = getattr(item, "match", "")
            source = written if isinstance(written, str) else shown(written)
            raise CrontabError(place, number, column, str(fault), source) from fault
        parsed[one.identifier] = one
    return tuple(parsed.values())


def _parse_line(line: str, before: Mapping[str, ParsedCronItem]) -> ParsedCronItem:
    words = list(re.finditer(r"\S+", line))
    times, rest = _times_of_line(words)
    task = rest[0]
    _check_task(task)
    extra, payload_at = LineOptions(), len(line)
    if len(rest) > 1:
        payload_at = rest[1].start()
        if rest[1][0].startswith("?"):
            extra = parse_options(rest[1][0][1:], payload_at + 1)
            payload_at = rest[2].start() if len(rest) > 2 else len(line)
    item = _item(task[0], times, extra, _payload(line[payload_at:].rstrip(), payload_at))
    _check_item(item, before, extra.identifier_offset or task.start())
    return item


def _times_of_line(words: list[re.Match[str]]) -> tuple[list[tuple[int, ...]], list[re.Match[str]]]:
    """Return the times that a line begins with, and its other words, of which there are some."""
    _check_no_setting(words[0])
    size = 1 if words[0][0].startswith("@") else len(FIELDS)
    times = _macro(words[0]) if size == 1 else None
    if len(words) <= size:
        what = "one such as @daily" if size == 1 else "five time fields"
        raise CrontabFault(
            words[0].start(),
            f"a line has {what} and a task, here {_counted(words)}: {_EXAMPLE}",
        )
    return times or _times(words[:size]), words[size:]


def _counted(words: Sequence[object]) -> str:
    return f"are {len(words)} words" if len(words) > 1 else "is one word"


def _parse_item(item: CronItem, before: Mapping[str, ParsedCronItem]) -> ParsedCronItem:
    if not isinstance(item, CronItem) or not isinstance(item.options, CronItemOptions):
        raise CrontabFault(0, "it must be a CronItem with CronItemOptions: make one of it")
    if not isinstance(item.match, str):
        raise CrontabFault(
            0, f"match must be text of five fields, got {shown(item.match)}: {_EXAMPLE}"
        )
    times = _times_of_match(item.match)
    payload = item.payload if item.payload is not None else {}
    if not isinstance(payload, Mapping):
        raise CrontabFault(
            0, f"payload must be a mapping, got {type(payload).__name__}: use a dict"
        )
    extra = LineOptions(identifier=item.identifier, options=item.options)
    parsed = _item(item.task, times, extra, _plain_json(dict(payload), 0))
    _check_item(parsed, before, 0)
    return parsed


def _times_of_match(match: str) -> list[tuple[int, ...]]:
    words = list(re.finditer(r"\S+", match))
    if len(words) == 1 and words[0][0].startswith("@"):
        return _macro(words[0])
    if len(words) != len(FIELDS):
        raise CrontabFault(
            0, f"match {clipped(match)} has {len(words)} fields: write minute, hour, "
            "day of month, month and day of week, such as `0 4 * * *`",
        )  # fmt: skip
    return _times(words)


def _macro(word: re.Match[str]) -> list[tuple[int, ...]]:
    fields = _MACROS.get(word[0].lower())
    if fields is None:
        raise CrontabFault(
            word.start(), f"{clipped(word[0])} is unknown: write one of {', '.join(_MACROS)}"
        )
    return _times(list(re.finditer(r"\S+", fields)))


def _times(words: Sequence[re.Match[str]]) -> list[tuple[int, ...]]:
    pairs = zip(FIELDS, words, strict=True)
    return [expand(field, word[0], word.start()) for field, word in pairs]


def _item(
    task: str, times: Sequence[tuple[int, ...]], extra: LineOptions, payload: dict[str, Any]
) -> ParsedCronItem:
    minutes, hours, dates, months, dows = times
    return ParsedCronItem(
        task=task,
        identifier=task if extra.identifier is None else extra.identifier,
        minutes=minutes, hours=hours, dates=dates, months=months, dows=dows,
        payload=payload, options=extra.options,
    )  # fmt: skip


def _check_no_setting(word: re.Match[str]) -> None:
    if re.match(r"[A-Za-z_]+=", word[0]):
        raise CrontabFault(
            word.start(),
            f"settings such as {clipped(word[0])} are not supported: remove the line; "
            "a line's own time zone is written ?tz=Europe/Berlin after its task",
        )


def _check_task(word: re.Match[str]) -> None:
    if not _TASK.fullmatch(word[0]):
        raise CrontabFault(
            word.start(),
            f"{clipped(word[0])} cannot name a task: after five time fields (there are no seconds "
            "and no years) write a letter or _, then letters, digits, _ : / and -, then a space",
        )


def _payload(text: str, offset: int) -> dict[str, Any]:
    if not text:
        return {}
    if not text.startswith("{"):
        raise CrontabFault(
            offset,
            f"{clipped(text.split()[0])} is not understood: after the task write nothing but "
            "?options without spaces, then a payload in {}",
        )
    if not text.endswith("}"):
        raise CrontabFault(
            offset + len(text) - 1,
            "the payload does not end with }: finish it on this line and write nothing after it",
        )
    return _plain_json(_json5(text, offset), offset)


def _json5(text: str, offset: int) -> dict[str, Any]:
    import json5  # here, for most programs that import the package read no payload of a crontab

    try:
        return json5.loads(text)  # type: ignore[no-any-return]
    except RecursionError as error:
        raise CrontabFault(offset, "the payload is nested too deeply: make it flatter") from error
    except ValueError as error:
        found = re.search(r":1 (.*) at column ([0-9]+)$", str(error))
        detail, column = (found[1], int(found[2])) if found else (str(error), 1)
        raise CrontabFault(
            offset + column - 1, f"the payload is not JSON5 ({detail}): correct it here or before"
        ) from error


def _plain_json(payload: dict[str, Any], offset: int) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(payload, allow_nan=False))  # type: ignore[no-any-return]
    except (TypeError, ValueError, RecursionError) as error:
        raise CrontabFault(
            offset, f"the payload cannot be stored as JSON ({error}): use objects, lists, text, "
            "finite numbers, booleans and null",
        ) from error  # fmt: skip


def _check_item(item: ParsedCronItem, before: Mapping[str, ParsedCronItem], offset: int) -> None:
    options = item.options
    try:
        check_job(item.task, item.job[2])
    except InvalidJob as error:
        raise CrontabFault(offset, f"{error}: correct the option") from error
    _check_identifier(item.identifier, offset)
    if not isinstance(options.backfill_period, timedelta) or options.backfill_period < timedelta(0):
        raise CrontabFault(
            offset, f"backfill_period must be a timedelta of 0 or more, "
            f"got {shown(options.backfill_period)}: use timedelta(0) for none",
        )  # fmt: skip
    _check_zone(options.timezone, offset)
    if item.identifier in before:
        raise CrontabFault(
            offset,
            f"identifier {clipped(item.identifier)} is given twice: "
            "tell the items apart with ?id= in a crontab, with identifier= in Python",
        )


def _check_zone(name: object, offset: int) -> None:
    try:
        if name is not None:
            zone_name(name)
    except UnknownZone as error:
        raise CrontabFault(
            offset, f"{error}: write a timezone such as Europe/Berlin, or leave it out for UTC"
        ) from error


def _check_identifier(identifier: str, offset: int) -> None:
    fits = isinstance(identifier, str) and 1 <= len(identifier) <= MAX_CRON_IDENTIFIER
    if not fits or not is_text(identifier):
        raise CrontabFault(
            offset, f"identifier must have 1 to {MAX_CRON_IDENTIFIER} characters, no NUL and no "
            f"lone surrogates, got {shown(identifier)}: choose another",
        )  # fmt: skip

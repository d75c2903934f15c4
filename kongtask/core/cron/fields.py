"""One time field of a crontab, from its text to the numbers it stands for.

The grammar is Graphile Worker's, numbers, ranges, `*`, `*/n` and lists of these, and beyond it
names of months and days (`jan`, `mon-fri`) and steps of ranges (`9-17/2`). A step of a single
number is refused with what to write in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


class CrontabFault(Exception):
    """A mistake in a part of a crontab, `offset` characters from where the text began."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeField:
    """One of the five fields: the values `*` stands for, and the highest that may be written."""

    name: str
    low: int
    high: int
    highest: int
    names: tuple[str, ...] = ()

    @property
    def everything(self) -> range:
        """All values of the field."""
        return range(self.low, self.high + 1)


MINUTE = TimeField(name="minute", low=0, high=59, highest=59)
HOUR = TimeField(name="hour", low=0, high=23, highest=23)
DATE = TimeField(name="day of month", low=1, high=31, highest=31)
MONTH = TimeField(
    name="month", low=1, high=12, highest=12,
    names=("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
)  # fmt: skip
DOW = TimeField(
    name="day of week", low=0, high=6, highest=7,
    names=("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
)  # fmt: skip
FIELDS = (MINUTE, HOUR, DATE, MONTH, DOW)


def expand(field: TimeField, text: str, offset: int = 0) -> tuple[int, ...]:
    """Return the sorted values that the text stands for; raises `CrontabFault`.

    >>> expand(MONTH, "*/5,2-4")
    (1, 2, 3, 4, 6, 11)
    >>> expand(DOW, "5-7")
    (0, 5, 6)
    """
    values: set[int] = set()
    for at, item in pieces(text, ","):
        values.update(_values(field, item, offset + at))
    return tuple(sorted(values))


def pieces(text: str, separator: str) -> Iterator[tuple[int, str]]:
    """Yield the parts between separators, each after its offset in the text."""
    at = 0
    for piece in text.split(separator):
        yield at, piece
        at += len(piece) + len(separator)


def small_number(digits: str) -> int:
    """Return the number, or for one of more than nine digits another that is as good as endless."""
    return int(digits.lstrip("0")[:10] or "0")


def clipped(text: str) -> str:
    """Return the text in quotes and short enough for a message."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _values(field: TimeField, item: str, offset: int) -> Iterable[int]:
    for form, read in _FORMS:
        if found := form.fullmatch(item):
            return read(field, found, offset)
    raise CrontabFault(offset, _refusal(field, item, offset))


def _one(field: TimeField, found: re.Match[str], offset: int) -> Iterable[int]:
    return [_wrapped(field, _checked(field, found[1], offset))]


def _span(field: TimeField, found: re.Match[str], offset: int) -> Iterable[int]:
    first = _checked(field, found[1], offset)
    last = _checked(field, found[2], offset + found.start(2))
    if found[2].lower() == "sun" and first:
        last = field.highest  # fri-sun goes up
    if last <= first:
        raise CrontabFault(
            offset,
            f"{field.name} range {found[0]} does not go up: "
            f"write the smaller number first, or {first} alone, or list the values with commas",
        )
    step = _step(field, found, 3, offset)
    return [_wrapped(field, value) for value in range(first, last + 1, step)]


def _every_nth(field: TimeField, found: re.Match[str], offset: int) -> Iterable[int]:
    return field.everything[:: _step(field, found, 1, offset)]


def _step(field: TimeField, found: re.Match[str], group: int, offset: int) -> int:
    """Return the number after the slash, or 1 where there is none."""
    if found[group] is None:
        return 1
    step = small_number(found[group])
    if step == 0:
        raise CrontabFault(
            offset + found.start(group) - 1,
            f"{field.name} step {clipped(found[0])} is never: write /1 or more, or no step",
        )
    return step


_VALUE = r"([0-9]+|[A-Za-z]+)"
_FORMS: tuple[tuple[re.Pattern[str], Callable[..., Iterable[int]]], ...] = (
    (re.compile(_VALUE), _one),
    (re.compile(rf"{_VALUE}-{_VALUE}(?:/([0-9]+))?"), _span),
    (re.compile(r"\*(?:/([0-9]+))?"), _every_nth),
)


def _checked(field: TimeField, text: str, offset: int) -> int:
    if not text.isdecimal():
        return _named(field, text, offset)
    value = small_number(text)
    if not field.low <= value <= field.highest:
        names = f", or a name from {field.names[0]} to {field.names[-1]}" if field.names else ""
        shown = value if len(text) < 10 else clipped(text)
        raise CrontabFault(
            offset,
            f"{field.name} {shown} is out of range {field.low}-{field.highest}: "
            f"write a number from {field.low} to {field.highest}{names}",
        )
    return value


def _named(field: TimeField, text: str, offset: int) -> int:
    if text.lower() in field.names:
        return field.low + field.names.index(text.lower())
    raise CrontabFault(offset, _not_understood(field, text))


def _wrapped(field: TimeField, value: int) -> int:
    return field.low + (value - field.low) % len(field.everything)


def _refusal(field: TimeField, item: str, offset: int) -> str:
    if not item:
        return f"{field.name} has an empty item: remove the extra comma"
    if stepped := re.fullmatch(r"([0-9]+)/([0-9]+)", item):
        first, step = _checked(field, stepped[1], offset), clipped(stepped[2])[1:-1]
        stepping = f"{first}-{field.high}/{step}, or " if first < field.high else ""
        return f"{field.name} {clipped(item)} steps a number: write {stepping}{first} alone"
    return _not_understood(field, item)


def _not_understood(field: TimeField, text: str) -> str:
    names = f", names such as {field.names[1]}" if field.names else ""
    return (
        f"{field.name} {clipped(text)} is not understood: "
        f"write numbers{names}, ranges such as 1-5, * or */2, separated by commas"
    )

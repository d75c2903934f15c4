"""Statements in the form a driver understands, and their rows read alike whatever it would make.

Drivers, and what an application sets on them, differ in the Python values they make of a row: its
moments may come naive, in another zone, or not at all. JSON text comes the same through each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from kongtask.postgres.statements import quote_schema, statement_text

_ARGUMENT = re.compile(r"\$(\d+)")
_MOMENTS = ("run_at", "created_at", "updated_at", "locked_at")
_INFINITE = {"infinity": datetime.max, "-infinity": datetime.min}


def numbered(name: str, schema: str) -> str:
    """Return the statement with `$1`, `$2` and so on for its arguments."""
    return _numbered(name, quote_schema(schema))


def positional(
    name: str, schema: str, arguments: Sequence[object]
) -> tuple[str, tuple[object, ...]]:
    """Return the statement with `%s` for each argument, and the arguments in the order of these.

    >>> positional("cron_register", "50% off", (["daily"], "2031-01-01"))[1]
    ('2031-01-01', ['daily'])
    """
    text, order = _positional(name, quote_schema(schema))
    return text, tuple(arguments[number - 1] for number in order)


def rows(texts: Iterable[str | bytes]) -> list[dict[str, Any]]:
    """Return the rows that the texts are, their moments aware and in UTC.

    >>> rows(['{"id": 7, "run_at": "2031-01-01T02:00:00+02:00"}'])
    [{'id': 7, 'run_at': datetime.datetime(2031, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)}]
    """
    return [_row(json.loads(text)) for text in texts]


@cache
def _numbered(name: str, quoted: str) -> str:
    return _as_json(name).replace("{schema}", quoted)


@cache
def _positional(name: str, quoted: str) -> tuple[str, tuple[int, ...]]:
    text = _as_json(name)
    order = tuple(int(number) for number in _ARGUMENT.findall(text))
    text = _ARGUMENT.sub("%s", text.replace("%", "%%"))
    return text.replace("{schema}", quoted.replace("%", "%%")), order


def _as_json(name: str) -> str:
    return statement_text("as_json").replace("{query}", statement_text(name))


def _row(columns: dict[str, Any]) -> dict[str, Any]:
    for name in _MOMENTS:
        text = columns.get(name)
        if text is not None:
            columns[name] = _moment(text)
    return columns


def _moment(text: str) -> datetime:
    if text in _INFINITE:
        return _INFINITE[text].replace(tzinfo=UTC)
    return datetime.fromisoformat(text).astimezone(UTC)

"""How recurring jobs look on a terminal and to a program."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from kongtask.core.cron.item import ParsedCronItem
from kongtask.core.cron.schedule import KnownCrontab, next_tick
from kongtask.core.cron.words import item_in_words

Record = dict[str, object]


def checked_record(item: ParsedCronItem, now: datetime) -> Record:
    """Return an item with all its parts, in words too."""
    options = {
        each.name: getattr(item.options, each.name)
        for each in dataclasses.fields(item.options)
        if each.name != "backfill_period"
    }
    never = next_tick(item, now) is None
    return {
        "identifier": item.identifier, "task": item.task,
        "words": item_in_words(item) + (": never, no month has such a day" if never else ""),
        "minutes": item.minutes, "hours": item.hours, "dates": item.dates, "months": item.months,
        "dows": item.dows, "payload": dict(item.payload), **options,
        "backfill_period_seconds": item.options.backfill_period / timedelta(seconds=1),
        "never": never,
    }  # fmt: skip


def firing_record(moment: datetime, item: ParsedCronItem) -> Record:
    """Return one firing: by its own clock and in UTC."""
    return {
        "identifier": item.identifier,
        "task": item.task,
        "local": moment.astimezone(item.zone or UTC).isoformat(),
        "utc": moment.astimezone(UTC).isoformat(),
        "timezone": item.options.timezone or "UTC",
    }


def firing_row(moment: datetime, item: ParsedCronItem) -> tuple[str, ...]:
    """Return the same as columns."""
    local = moment.astimezone(item.zone or UTC)
    zone = item.options.timezone or "UTC"
    return f"{local:%a %Y-%m-%d %H:%M %z} {zone}", f"{moment:%Y-%m-%d %H:%M} UTC", item.identifier


def known_records(
    known: Mapping[str, KnownCrontab], items: Sequence[ParsedCronItem], now: datetime
) -> list[Record]:
    """Return what the database knows, then what only the crontab does."""
    by_name = {item.identifier: item for item in items}
    names = [*sorted(known), *(name for name in by_name if name not in known)]
    return [_known_record(name, known.get(name), by_name.get(name), now) for name in names]


def _known_record(
    name: str, known: KnownCrontab | None, item: ParsedCronItem | None, now: datetime
) -> Record:
    paused = known is not None and known.paused
    return {
        "identifier": name,
        "known_since": _text(known.known_since if known else None),
        "last_execution": _text(known.last_execution if known else None),
        "paused": paused,
        "next": _text(next_tick(item, now) if item is not None and not paused else None),
        "in_crontab": item is not None,
    }


def known_row(record: Record, has_crontab: bool) -> tuple[str, ...]:
    """Return a known item as columns: its name, when it fired last, what comes next."""
    last = _minute(record["last_execution"], "never fired")
    if record["known_since"] is None:
        last = "not known yet"
    if record["paused"]:
        return str(record["identifier"]), "-", "paused"
    if not has_crontab:
        return str(record["identifier"]), last
    absent = "never again" if record["in_crontab"] else "not in the crontab"
    return str(record["identifier"]), last, _minute(record["next"], absent)


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return rows below their heads, columns under each other."""
    lines = [heads, *(row + ("",) * (len(heads) - len(row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _minute(moment: object, absent: str) -> str:
    if not isinstance(moment, str):
        return absent
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M} UTC"

"""What the database remembers of recurring jobs, and the statement that adds them exactly once.

Any number of schedulers may enqueue the same tick: the row of the identifier decides who wins. It
refuses to know what time it is; the ticks come from outside.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import asyncpg

from kongtask.core.cron.item import ParsedCronItem
from kongtask.core.cron.schedule import KnownCrontab, Tick
from kongtask.errors import StoreUnavailable
from kongtask.postgres.records import translated_statement
from kongtask.postgres.statements import statement

RACES = 10
"""How often a tick is enqueued anew after Graphile Worker's function lost a keyed job in a race."""


class CrontabStore:
    """The known crontabs of one schema."""

    def __init__(self, pool: asyncpg.Pool[Any], schema: str) -> None:
        self._pool = pool
        self._schema = schema

    async def known(self) -> dict[str, KnownCrontab]:
        """Return every identifier that was ever registered or enqueued."""
        with translated_statement(self._schema):
            rows = await self._pool.fetch(statement("cron_known", self._schema))
        return {
            row["identifier"]: KnownCrontab(
                known_since=row["known_since"], last_execution=row["last_execution"]
            )
            for row in rows
        }

    async def register(self, identifiers: Iterable[str], now: datetime) -> None:
        """Remember identifiers as known since `now`; those known before stay as they are."""
        with translated_statement(self._schema):
            await self._pool.execute(
                statement("cron_register", self._schema), list(identifiers), now
            )

    async def enqueue(self, tick: Tick) -> tuple[str, ...]:
        """Add the tick's jobs, each once among all schedulers; return the identifiers that won.

        An identifier wins when its last execution is older than the tick. Raises
        `StoreUnavailable` when the database is away; then nothing was added, or everything.
        """
        if not tick.items:
            return ()
        for _ in range(RACES):
            with suppress(_LostJob), translated_statement(self._schema):
                return await self._enqueue(tick)
        raise StoreUnavailable(
            f"the cron jobs of {cron_timestamp(tick.timestamp)} could not be added {RACES} times "
            "in a row because others add and run jobs with their keys at the same moment: try again"
        )

    async def _enqueue(self, tick: Tick) -> tuple[str, ...]:
        arguments = _arguments(tick)
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(statement("cron_enqueue", self._schema), *arguments)
            if any(row["job_id"] is None for row in rows):
                raise _LostJob
        return tuple(row["identifier"] for row in rows)


class _LostJob(Exception):
    """add_job gave nothing back: undo the tick, or its last execution would be a lie."""


def cron_timestamp(moment: datetime) -> str:
    """Return the moment as ISO 8601 text in UTC with milliseconds.

    >>> cron_timestamp(datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    '2026-01-02T03:04:00.000Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _arguments(tick: Tick) -> tuple[object, ...]:
    ts = cron_timestamp(tick.timestamp)
    cron = {"ts": ts, "backfilled": tick.backfilled}
    specs = json.dumps([_spec(item, cron) for item in tick.items], allow_nan=False)
    return (specs, tick.timestamp)


def _spec(item: ParsedCronItem, cron: dict[str, object]) -> dict[str, object]:
    options = item.options
    return {
        "identifier": item.identifier,
        "task": item.task,
        "payload": json.dumps({**item.payload, "_cron": cron}, allow_nan=False),
        "queue_name": options.queue_name,
        "max_attempts": options.max_attempts,
        "job_key": options.job_key,
        "priority": options.priority,
        "job_key_mode": options.job_key_mode,
    }

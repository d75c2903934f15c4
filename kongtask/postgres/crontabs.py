"""What the database remembers of recurring jobs, and the statement that adds them exactly once.

Any number of schedulers may enqueue the same tick: the row of the identifier decides who wins.
Pausing works through the same rule, so that Graphile Worker keeps to it too. The ticks come from
outside; what time it is, only the database says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg

from kongtask.core.cron.item import ParsedCronItem
from kongtask.core.cron.lookup import unknown_identifier
from kongtask.core.cron.schedule import KnownCrontab, Tick
from kongtask.core.job import Job
from kongtask.errors import StoreUnavailable
from kongtask.postgres.enqueue import JobQueue
from kongtask.postgres.records import translated_statement
from kongtask.postgres.statements import statement

RACES = 10
"""How often a tick is enqueued anew after a race lost a keyed job."""


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
                known_since=row["known_since"],
                last_execution=row["last_execution"],
                paused=row["paused"],
            )
            for row in rows
        }

    async def now(self) -> datetime:
        """Return the database's time."""
        moment, _ = await self.now_at(lambda: 0.0)
        return moment

    async def now_at(self, monotonic: Callable[[], float]) -> tuple[datetime, float]:
        """Return the database's time, and what the given clock showed at that moment.

        Waiting for a connection does not count; half the time of the answer's way does.
        """
        with translated_statement(self._schema):
            async with self._pool.acquire() as connection:
                before = monotonic()
                moment = await connection.fetchval(statement("cron_now", self._schema))
                return moment, (before + monotonic()) / 2

    async def pause(self, identifier: str) -> bool:
        """Let no scheduler add the item's jobs until it is resumed; return whether it did before.

        Raises `ConfigurationError` for an identifier that was never registered.
        """
        return await self._change("cron_pause", identifier)

    async def resume(self, identifier: str) -> bool:
        """Let schedulers go on with a paused item, from now on; return whether it was paused.

        What was missed is not made up for. Raises `ConfigurationError` for an identifier that was
        never registered.
        """
        return await self._change("cron_resume", identifier)

    async def _change(self, name: str, identifier: str) -> bool:
        with translated_statement(self._schema):
            changed = await self._pool.fetch(statement(name, self._schema), identifier)
        if not changed and identifier not in (known := await self.known()):
            raise unknown_identifier(identifier, known, f"schema {self._schema}")
        return bool(changed)

    async def run_now(self, item: ParsedCronItem) -> Job:
        """Add the item's job at once, paused or not; when it fires next stays as it is."""
        task, payload, spec = item.job
        cron = {"ts": cron_timestamp(await self.now()), "backfilled": False}
        queue = JobQueue(self._pool, self._schema)
        return await queue.add_job(task, {**payload, "_cron": cron}, spec)

    async def register(self, identifiers: Iterable[str], now: datetime) -> None:
        """Remember identifiers as known since `now`; those known before stay as they are."""
        with translated_statement(self._schema):
            await self._pool.execute(
                statement("cron_register", self._schema), list(identifiers), now
            )

    async def enqueue(self, tick: Tick) -> tuple[str, ...]:
        """Add the tick's jobs, each once among all schedulers; return the identifiers that won.

        An identifier wins when its last execution is older than the tick. Raises
        `StoreUnavailable` when the database is away; what was not added then can be tried again.
        """
        items, won = tick.items, set[str]()
        while items:
            left = await self._add(replace(tick, items=items), won, wait=False)
            if left:  # another scheduler decides on them now; it is waited for with nothing held
                await self._add(replace(tick, items=left[:1]), won, wait=True)
            items = left[1:]
        return tuple(item.identifier for item in tick.items if item.identifier in won)

    async def _add(self, tick: Tick, won: set[str], *, wait: bool) -> tuple[ParsedCronItem, ...]:
        """Add to the winners, and return the items that were left to other schedulers."""
        for _ in range(RACES):
            with suppress(_LostJob, asyncpg.DeadlockDetectedError):
                rows = await self._rows(tick, wait=wait)
                won |= {row["identifier"] for row in rows if not row["is_left"]}
                left = {row["identifier"] for row in rows if row["is_left"]}
                return tuple(item for item in tick.items if item.identifier in left)
        raise StoreUnavailable(
            f"the cron jobs of {cron_timestamp(tick.timestamp)} could not be added {RACES} times "
            "in a row because others add and run jobs with their keys at the same moment: try again"
        )

    async def _rows(self, tick: Tick, *, wait: bool) -> list[asyncpg.Record]:
        query, arguments = statement("cron_enqueue", self._schema), _arguments(tick)
        with translated_statement(self._schema):
            async with self._pool.acquire() as connection, connection.transaction():
                rows = await connection.fetch(query, *arguments, wait)
                if any(row["job_id"] is None and not row["is_left"] for row in rows):
                    raise _LostJob
                return rows


class _LostJob(Exception):
    """add_job gave nothing back: undo the tick, or its last execution would be a lie."""


def cron_timestamp(moment: datetime) -> str:
    """Return the moment as ISO 8601 text in UTC with milliseconds.

    >>> cron_timestamp(datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    '2026-01-02T03:04:00.000Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _arguments(tick: Tick) -> tuple[object, ...]:
    cron: dict[str, object] = {
        "ts": cron_timestamp(tick.timestamp), "backfilled": tick.backfilled,
    }  # fmt: skip
    if tick.late:
        cron["late"] = True
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

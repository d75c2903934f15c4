"""What a pool of workers does to the job table: fetch, complete, fail, return.

Every statement is for many jobs. Completing and failing change only rows this pool still holds;
what was taken from it in the meantime is reported, not overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from kongtask.clock import Clock
from kongtask.core.control import When
from kongtask.core.fetch_start import FRONT, Range
from kongtask.errors import StoreUnavailable
from kongtask.postgres.life import PoolIdentity
from kongtask.postgres.records import FetchedJobs, storable_text
from kongtask.postgres.session import Session
from kongtask.postgres.statements import statement

QUEUES_LAST = 1.0
"""Seconds after which to ask again whether there are named queues, once there were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed run: its error text, and what differs from the usual back-off."""

    job_id: int
    error: str
    when: When | None = None
    is_final: bool = False
    payload_json: str | None = None


class JobStore:
    """The job table of one schema, as one pool of workers sees it."""

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        schema: str,
        identity: PoolIdentity,
        clock: Clock | None = None,
    ) -> None:
        self._schema = schema
        self._identity = identity
        self._reads = Session(pool, schema)
        self._writes = Session(pool, schema)
        self._fetch = statement("fetch_jobs", schema)
        self._fetch_unqueued = statement("fetch_unqueued_jobs", schema)
        self._clock = clock or Clock()
        self._may_have_queues = True  # until a fetch says otherwise
        self._asks_from = 0.0
        self._task_names: dict[int, str] = {}
        self._task_ids: list[int] = []

    async def register_tasks(self) -> None:
        """Give every task of this pool an id, so that its jobs can be found."""
        names = list(self._identity.tasks)
        await self._reads.fetch(statement("register_tasks", self._schema), names)
        rows = await self._reads.fetch(statement("read_tasks", self._schema), names)
        self._task_names = {row["id"]: row["identifier"] for row in rows}
        self._task_ids = list(self._task_names)

    async def fetch(
        self,
        limit: int,
        forbidden_flags: Sequence[str] = (),
        *,
        of_a_queue: int = 1,
        ranges: Sequence[Range] = FRONT,
    ) -> FetchedJobs:
        """Lock up to `limit` due jobs and return them in the order they should run.

        of_a_queue: how many of one named queue. ranges: where to look; other jobs are not seen.
        """
        wanted = (self._identity.pool_id, self._task_ids, limit, list(forbidden_flags) or None)
        rows, have_queues = [], False
        if ranges is FRONT and not self._may_have_queues:
            rows = await self._reads.fetch(self._fetch_unqueued, *wanted)
        if not rows:  # nothing is due, or a named queue was made meanwhile
            now, have_queues = self._clock.monotonic(), True
            asks = now >= self._asks_from
            rows = await self._reads.fetch(
                self._fetch, *wanted, of_a_queue, *_columns(ranges), asks
            )
            self._may_have_queues = not rows or rows[0]["has_queues"] is not False
            if rows and asks and self._may_have_queues:
                self._asks_from = now + QUEUES_LAST
        return FetchedJobs(rows, self._task_names, self._identity.pool_id, have_queues=have_queues)

    async def complete(self, job_ids: Sequence[int], *, have_queues: bool = True) -> set[int]:
        """Delete jobs that succeeded; return the ids this pool still held.

        have_queues: whether one of them has a named queue, to be freed.
        """
        name = "complete_jobs" if have_queues else "complete_unqueued_jobs"
        return set(job_ids) - await self._write(name, list(job_ids))

    async def fail(self, failures: Sequence[Failure]) -> set[int]:
        """Record failed runs; return the ids this pool still held."""
        return await self._write(
            "fail_jobs",
            [each.job_id for each in failures],
            [storable_text(each.error) for each in failures],
            *_times([each.when for each in failures]),
            [each.is_final for each in failures],
            [each.payload_json for each in failures],
        )

    async def snooze(self, wishes: Sequence[tuple[int, When]]) -> set[int]:
        """Put jobs off with their attempt, as (job id, when); return the ids still held."""
        ids = [job_id for job_id, _ in wishes]
        return await self._write("snooze_jobs", ids, *_times([when for _, when in wishes]))

    async def unserved_tasks(self) -> list[str]:
        """Return tasks with due jobs that this pool does not run, among the next thousand."""
        rows = await self._reads.fetch(
            statement("unserved_tasks", self._schema), list(self._task_names)
        )
        return [row["identifier"] for row in rows]

    async def give_back(self, job_ids: Sequence[int]) -> set[int]:
        """Unlock jobs that were not run, with their attempt; return the ids still held."""
        return await self._write("return_jobs", list(job_ids))

    async def give_back_unheld(self, held: Sequence[int]) -> set[int]:
        """Unlock jobs and queues that this pool has locked without knowing; return the job ids."""
        return await self._write("return_unheld", list(held))

    async def leave(self) -> None:
        """Give back whatever is still locked and forget the heartbeat."""
        try:
            await self._leave()
        except StoreUnavailable:  # the connection broke while it was idle: a new one may do
            await self._leave()

    async def _leave(self) -> None:
        # Where fetches and beats go: one that was cancelled may still take effect before these.
        pool_id = self._identity.pool_id
        await self._reads.fetch(statement("return_unheld", self._schema), pool_id, [])
        await self._reads.fetch(statement("forget_pool", self._schema), pool_id)

    async def abandon(self) -> None:
        """Give the connections back and leave the heartbeat to run out."""
        await self._reads.close()
        await self._writes.close()

    async def _write(self, name: str, ids: list[int], *more: object) -> set[int]:
        rows = await self._writes.fetch(
            statement(name, self._schema), self._identity.pool_id, ids, *more
        )
        return {row["id"] for row in rows}


def _columns(ranges: Sequence[Range]) -> Iterable[object]:
    """Return three arrays, or three nulls for everything, which cost the client less."""
    return (None, None, None) if ranges is FRONT else zip(*ranges, strict=True)


def _times(whens: Sequence[When | None]) -> tuple[list[datetime | None], list[timedelta | None]]:
    """Split times into moments and delays, each with None in the place of the other."""
    moments = [when if isinstance(when, datetime) else None for when in whens]
    delays = [when if isinstance(when, timedelta) else None for when in whens]
    return moments, delays

"""The one LISTEN connection of a process: tells at once that jobs were added.

A lost notification costs nothing but time, because everyone who listens polls as well.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg

from kongtask.clock import Clock
from kongtask.postgres.pool import LOST

JOBS_CHANNEL = "jobs:insert"
MIGRATION_CHANNEL = "worker:migrate"
CANCEL_CHANNEL = "kongtask:cancel"
LONGEST_DELAY = 60.0
"""Seconds between attempts to connect again, at most."""

_TROUBLE: tuple[type[BaseException], ...] = (*LOST, asyncpg.PostgresError)


def added_count(payload: str) -> int:
    """Return how many jobs a notification speaks of; at least 0, and 1 when it does not say.

    >>> added_count('{"r": 0.5, "count": 3}'), added_count(""), added_count('{"count": -1}')
    (3, 1, 0)
    """
    try:
        return max(0, int(json.loads(payload)["count"]))
    except (ValueError, TypeError, KeyError):
        return 1


def reconnect_delay(attempt: int, factor: float) -> float:
    """Return the seconds to wait before the attempt after `attempt` failures in a row."""
    return factor * min(LONGEST_DELAY, 0.05 * math.exp(min(attempt, 20)))


class Listener:
    """Calls `on_jobs(count)` for added jobs, `on_migration(breaking)` for migrations, and
    `on_cancel(pool_id, job_ids)` for jobs that were cancelled while a pool held them.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        *,
        on_jobs: Callable[[int], None],
        on_migration: Callable[[bool], None],
        on_cancel: Callable[[str, set[int]], None] = lambda pool_id, job_ids: None,
        on_state: Callable[[str | None], None],
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._on_jobs = on_jobs
        self._on_migration = on_migration
        self._on_cancel = on_cancel
        self._hearing = {
            JOBS_CHANNEL: self._hear_jobs,
            MIGRATION_CHANNEL: self._hear_migration,
            CANCEL_CHANNEL: self._hear_cancel,
        }
        self._on_state = on_state
        self._clock = clock
        self._attempt = 0

    async def run(self) -> None:
        """Listen, and connect again after each loss, until cancelled.

        `on_state` hears None when the connection listens and the reason when it is lost.
        """
        while True:
            try:
                await self._listen()
            except _TROUBLE as error:
                self._on_state(str(error) or type(error).__name__)
            self._attempt += 1
            delay = reconnect_delay(self._attempt, self._clock.jitter(0.5, 1.0))
            await self._clock.sleep(delay)

    async def _listen(self) -> None:
        connection = await self._pool.acquire()
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            for channel, hear in self._hearing.items():
                await connection.add_listener(channel, hear)
            self._attempt = 0
            self._on_state(None)
            self._on_jobs(1)
            await lost.wait()
            raise ConnectionError("the server closed the connection")
        finally:
            await self._give_back(connection)

    async def _give_back(self, connection: Any) -> None:
        for channel, hear in self._hearing.items():
            with suppress(*_TROUBLE):
                await connection.remove_listener(channel, hear)
        with suppress(*_TROUBLE):  # asyncpg ends one that cannot be reset
            if connection.is_closed():
                connection.terminate()  # only so does it let go of its listeners
            else:
                await self._pool.release(connection, timeout=1)

    def _hear_jobs(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        count = added_count(str(payload))
        if count:
            self._on_jobs(count)

    def _hear_migration(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        try:
            breaking = bool(json.loads(str(payload)).get("breaking"))
        except (ValueError, AttributeError):
            breaking = False
        self._on_migration(breaking)

    def _hear_cancel(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        try:
            told = json.loads(str(payload))
            pool_id, job_ids = str(told["pool"]), {int(each) for each in told["ids"]}
        except (ValueError, TypeError, KeyError):
            return
        self._on_cancel(pool_id, job_ids)

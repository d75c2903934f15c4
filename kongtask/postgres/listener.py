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
from kongtask.errors import StoreUnavailable
from kongtask.postgres.pool import CONNECT_TIMEOUT, LOST, borrow, who_answers
from kongtask.postgres.statements import statement_text

_read = json.JSONDecoder().raw_decode
"""Three times as fast as json.loads: one notification comes for each job that is added alone."""

JOBS_CHANNEL = "jobs:insert"
MIGRATION_CHANNEL = "worker:migrate"
CANCEL_CHANNEL = "kongtask:cancel"
PROBE_CHANNEL = "kongtask:probe"
LONGEST_DELAY = 3.0
"""Seconds between attempts to connect again, at most."""

DEAF_DELAY = 60.0
"""The same after `PROBES` probes in a row that nobody heard."""

PROBES = 3
PROBE_TIMEOUT = 3.0
"""Seconds after which a notification sent to oneself counts as not heard."""

LOOK_PERIOD = 30.0
"""Seconds between two looks at whether the connection still reaches the primary; see `suspect`."""

LAST_WORD = 1.0
"""Seconds to give the connection back properly."""

_TROUBLE: tuple[type[BaseException], ...] = (*LOST, asyncpg.PostgresError, StoreUnavailable)

_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What comes of reading a notification that somebody else made up."""


def added_count(payload: str) -> int:
    """Return how many jobs a notification speaks of; at least 0, and 1 when it does not say.

    >>> added_count('{"r": 0.5, "count": 3}'), added_count(""), added_count('{"count": -1}')
    (3, 1, 0)
    """
    try:
        return max(0, int(_read(payload)[0]["count"]))
    except _UNREADABLE:
        return 1


class Deaf(StoreUnavailable):
    """Notifications do not come through the pooler: start workers with --no-listen."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


def reconnect_delay(attempt: int, factor: float, longest: float = LONGEST_DELAY) -> float:
    """Return the seconds to wait before the attempt after `attempt` failures in a row."""
    return factor * min(longest, 0.05 * math.exp(min(attempt, 20)))


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
        self._stirred = asyncio.Event()

    def suspect(self) -> None:
        """Look at once whether the connection still reaches the primary: others had trouble."""
        self._stirred.set()

    async def run(self) -> None:
        """Listen, and connect again after each loss, until cancelled.

        `on_state` hears None when the connection listens and the reason when it is lost.
        """
        while True:
            longest = LONGEST_DELAY
            try:
                await self._listen()
            except _TROUBLE as error:
                if isinstance(error, Deaf) and self._attempt >= PROBES - 1:
                    longest = DEAF_DELAY
                self._on_state(str(error) or type(error).__name__)
            self._attempt += 1
            factor = self._clock.jitter(0.5, 1.0)
            await self._clock.sleep(reconnect_delay(self._attempt, factor, longest))

    async def _listen(self) -> None:
        connection = await borrow(self._pool)
        stirred = self._stirred
        connection.add_termination_listener(lambda _: stirred.set())
        try:
            is_pooled = await _look(connection)
            for channel, hear in self._hearing.items():
                await connection.add_listener(channel, hear)
            if is_pooled:
                await self._probe(connection)
            self._attempt = 0
            self._on_state(None)
            self._on_jobs(1)
            while True:
                await _happens(stirred, LOOK_PERIOD)
                stirred.clear()
                if connection.is_closed():
                    raise ConnectionError("the server closed the connection")
                await _look(connection)
        except _TROUBLE as error:
            if not isinstance(error, Deaf):
                connection.terminate()  # to ask it for anything could take for ever
            raise
        finally:
            await self._give_back(connection)

    async def _probe(self, connection: Any) -> None:
        """Raise `Deaf` unless a notification arrives: a pooler may keep them from who listens."""
        heard, token = asyncio.Event(), self._clock.token()

        def hear(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
            if payload == token:
                heard.set()

        await connection.add_listener(PROBE_CHANNEL, hear)
        try:
            async with self._pool.acquire(timeout=CONNECT_TIMEOUT) as other:
                query = statement_text("notify")
                await other.fetch(query, PROBE_CHANNEL, token, timeout=CONNECT_TIMEOUT)
            if not await _happens(heard, PROBE_TIMEOUT):
                raise Deaf
        finally:
            with suppress(*_TROUBLE):
                await connection.remove_listener(PROBE_CHANNEL, hear)

    async def _give_back(self, connection: Any) -> None:
        """Raise nothing: whoever cancels the listener must not hear of something else."""
        is_quiet = False
        with suppress(*_TROUBLE):
            async with asyncio.timeout(LAST_WORD):
                for channel, hear in self._hearing.items():
                    if not connection.is_closed():
                        await connection.remove_listener(channel, hear)
                is_quiet = True
        with suppress(*_TROUBLE):  # asyncpg ends one that cannot be reset
            if connection.is_closed() or not is_quiet:  # a database that is far away is slow
                connection.terminate()  # only so does it let go of its listeners
            else:
                await self._pool.release(connection, timeout=LAST_WORD)

    def _hear_jobs(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        count = added_count(str(payload))
        if count:
            self._on_jobs(count)

    def _hear_migration(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        try:
            breaking = bool(json.loads(str(payload)).get("breaking"))
        except _UNREADABLE:
            breaking = False
        self._on_migration(breaking)

    def _hear_cancel(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        try:
            told = json.loads(str(payload))
            pool_id, job_ids = str(told["pool"]), {int(each) for each in told["ids"]}
        except _UNREADABLE:
            return
        self._on_cancel(pool_id, job_ids)


async def _look(connection: Any) -> bool:
    """Return whether a pooler stands between; raises what says that nobody answers, or the wrong.

    A primary that was demoted keeps its connections, and nobody adds jobs there any more.
    """
    is_pooled, is_read_only = await who_answers(connection)
    if is_read_only:
        raise StoreUnavailable("the server takes no writes now: another may have taken over")
    return is_pooled


async def _happens(event: asyncio.Event, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True

"""The databases of pools, asked over one connection for each connection string.

It turns every failure into a Problem for a condition, and never shows a connection string.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kongtask.clock import Clock
from kongtask.core.cron.schedule import Tick
from kongtask.errors import (
    ConfigurationError,
    DatabaseRefused,
    KongTaskError,
    SchemaForeign,
    SchemaTooNew,
    StoreUnavailable,
)
from kongtask.operator.crontabs import Crontabs
from kongtask.operator.database import DatabaseState
from kongtask.operator.model import Connection, Pool, PoolKey, Problem
from kongtask.operator.revision import known_tasks
from kongtask.postgres.migrations import check_level, read_level
from kongtask.postgres.queue_state import QueueState, read_queue
from kongtask.postgres.queue_watcher import QueueWatcher


class PostgresDatabase:
    """Implements `Database`; `wake` is called with each pool that may have new jobs."""

    def __init__(self, clock: Clock, wake: Callable[[PoolKey], None] = lambda _: None) -> None:
        self._clock = clock
        self._wake = wake
        self._crontabs = Crontabs()
        self._uris: dict[PoolKey, str] = {}
        self._watchers: dict[str, tuple[QueueWatcher, asyncio.Task[None]]] = {}

    async def observe(self, pool: Pool, connection: Connection | None) -> DatabaseState:
        """Return the state of a pool's schema; failures come back as problems."""
        cron = self._crontabs.state(pool)
        if connection is None:
            return DatabaseState(queue=None, cron=cron)
        watcher = await self._watcher(pool.key, connection.uri)
        try:
            async with watcher.borrowed() as session:
                return await self._ask(session, pool, known_tasks(pool, connection.fingerprint))
        except (ConfigurationError, StoreUnavailable) as error:
            return DatabaseState(queue=database_problem(error), cron=cron)

    async def _ask(self, session: Any, pool: Pool, tasks: tuple[str, ...] | None) -> DatabaseState:
        schema, now = pool.spec.schema, self._clock.now()
        level = await read_level(session, schema)
        problem = _level_problem(level, schema)
        queue: QueueState | None = None
        cron = self._crontabs.state(pool)
        try:
            queue = await read_queue(session, schema, pool.spec.queue_cap, tasks)
            if not pool.spec.suspend:
                cron = await self._crontabs.observe(session, pool, now)
        except DatabaseRefused:
            raise
        except ConfigurationError as error:
            problem = problem or Problem(reason="Pending", message=str(error))
        return DatabaseState(
            queue=queue, schema_version=level.graphile, schema_problem=problem, cron=cron
        )

    async def enqueue(self, pool: Pool, connection: Connection, ticks: tuple[Tick, ...]) -> None:
        """Add the jobs of these moments, each exactly once; raises `StoreUnavailable`."""
        watcher = await self._watcher(pool.key, connection.uri)
        async with watcher.borrowed() as session:
            await self._crontabs.enqueue(session, pool, ticks)

    async def forget(self, key: PoolKey) -> None:
        """Close what was open for a pool that is gone."""
        self._crontabs.forget(key)
        await self._leave(key)

    async def _leave(self, key: PoolKey) -> None:
        uri = self._uris.pop(key, None)
        if uri is not None and uri not in self._uris.values():
            await self._stop(uri)

    async def close(self) -> None:
        """Close all connections. Closing twice is fine."""
        for uri in list(self._watchers):
            await self._stop(uri)

    async def _watcher(self, key: PoolKey, uri: str) -> QueueWatcher:
        if self._uris.get(key) != uri:
            await self._leave(key)
            self._uris[key] = uri
        if uri not in self._watchers:
            watcher = QueueWatcher(uri, on_jobs=lambda: self._heard(uri), clock=self._clock)
            self._watchers[uri] = (watcher, asyncio.create_task(watcher.run()))
        return self._watchers[uri][0]

    def _heard(self, uri: str) -> None:
        for key, each in self._uris.items():
            if each == uri:
                self._wake(key)

    async def _stop(self, uri: str) -> None:
        _, task = self._watchers.pop(uri)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _level_problem(level: Any, schema: str) -> Problem | None:
    try:
        check_level(level, schema)
    except SchemaForeign as error:
        return Problem(reason="SchemaForeign", message=str(error))
    except SchemaTooNew as error:
        return Problem(reason="SchemaTooNew", message=str(error))
    except ConfigurationError as error:
        return Problem(reason="Pending", message=str(error))
    return None


def database_problem(error: KongTaskError) -> Problem:
    """Return why a database cannot be asked, with the condition's reason."""
    if isinstance(error, DatabaseRefused):
        return Problem(reason=error.reason, message=str(error))
    if isinstance(error, ConfigurationError):
        return Problem(reason="SecretInvalid", message=str(error))
    full = type(error.__cause__).__name__ == "TooManyConnectionsError"
    return Problem(reason="TooManyConnections" if full else "ConnectionFailed", message=str(error))

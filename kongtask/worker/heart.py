"""Tells the database that this pool lives, and frees what dead pools hold.

A pool that was itself cut off for a while frees nothing at first: after an outage everybody looks
dead, and the others get as long to come back as a silence may last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from kongtask.clock import Clock
from kongtask.errors import KongTaskError
from kongtask.logger import Logger
from kongtask.postgres.jobs import JobStore

BEAT_PERIOD = 5.0
"""Seconds between two heartbeats."""

SILENCE = timedelta(seconds=15)
"""Silence after which a pool whose session is gone counts as dead."""


class Heart:
    """Beats until cancelled; `on_freed` is called when jobs of others were freed."""

    def __init__(
        self, *, store: JobStore, logger: Logger, clock: Clock, on_freed: Callable[[], None]
    ) -> None:
        self._store = store
        self._logger = logger
        self._clock = clock
        self._on_freed = on_freed
        self._steady_since: float | None = None
        self.turned_at = clock.monotonic()

    async def run(self) -> None:
        """Beat again and again, through outages."""
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._turn())
            while True:
                await self._clock.sleep(BEAT_PERIOD * self._clock.jitter(0.9, 1.1))
                await self._try()

    async def beat(self) -> None:
        """Beat once; raises `StoreUnavailable` when the database is away."""
        now = self._clock.monotonic()
        since = now if self._steady_since is None else self._steady_since
        steady = now - since >= SILENCE.total_seconds()
        freed = await self._store.beat(SILENCE if steady else None)
        self._steady_since = since
        for pool_id, jobs in freed.items():
            self._logger.warn(f"freed {jobs} jobs of {pool_id}, which has died", {"pool": pool_id})
        if freed:
            self._on_freed()

    async def _turn(self) -> None:
        """Note that the event loop turns: a beat may wait for the database for a long time."""
        while True:
            self.turned_at = self._clock.monotonic()
            await self._clock.sleep(BEAT_PERIOD)

    async def _try(self) -> None:
        try:
            await self.beat()
        except Exception as error:  # whatever the database says, the jobs of this pool run on
            if self._steady_since is not None:
                said = str(error) if isinstance(error, KongTaskError) else repr(error)
                self._logger.warn(f"no heartbeat: {said}")
            self._steady_since = None

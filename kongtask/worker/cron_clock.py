"""The database's clock as a runner sees it, so that machines with wrong clocks fire on the minute.

Between two readings the machine's monotonic clock counts on: it need not be right, only steady.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from kongtask.clock import Clock
from kongtask.errors import StoreUnavailable
from kongtask.postgres.crontabs import CrontabStore

MEASURE_EVERY = 60.0
"""Seconds after which the database's clock is read again."""

_EARLY = 1.0


class DatabaseClock:
    """Tells the database's time; `measure` comes first."""

    def __init__(self, store: CrontabStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._reading: tuple[datetime, float] | None = None

    async def measure(self) -> None:
        """Read the database's clock; raises `StoreUnavailable`."""
        self._reading = await self._store.now_at(self._clock.monotonic)

    async def keep_right(self) -> None:
        """Read it again if the last reading is old; while the database is away that one does."""
        if self._age() >= MEASURE_EVERY - _EARLY:
            with suppress(StoreUnavailable):
                await self.measure()

    def now(self) -> datetime:
        """Return the database's time."""
        assert self._reading is not None, "measure first"
        return self._reading[0] + timedelta(seconds=self._age())

    def _age(self) -> float:
        assert self._reading is not None, "measure first"
        return self._clock.monotonic() - self._reading[1]

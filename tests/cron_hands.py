"""Clocks whose hands a test moves, for schedulers: the machine's, and the database's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from kongtask.clock import Clock
from kongtask.postgres.crontabs import CrontabStore

PATIENCE = 30.0


class HandClock(Clock):
    """A clock whose hands the test moves; sleepers wake when the hands pass their moment.

    What the machine shows may be wrong by something; its monotonic clock only counts.
    """

    def __init__(self, now: datetime, wrong: timedelta = timedelta(0)) -> None:
        self.hands = self._started = now
        self._wrong = wrong
        self._sleepers: list[tuple[datetime, asyncio.Event]] = []
        self._somebody_sleeps = asyncio.Event()
        self.naps: list[float] = []

    def now(self) -> datetime:
        return self.hands + self._wrong

    def monotonic(self) -> float:
        return 1234.5 + (self.hands - self._started).total_seconds()

    def jitter(self, low: float = 0.5, high: float = 1.5) -> float:
        return 1.0

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        alarm = asyncio.Event()
        self._sleepers.append((self.hands + timedelta(seconds=seconds), alarm))
        self._somebody_sleeps.set()
        await alarm.wait()

    async def until_asleep(self) -> None:
        await asyncio.wait_for(self._somebody_sleeps.wait(), PATIENCE)

    async def move(self, now: datetime) -> None:
        """Move the hands, and return when who woke by that sleeps again."""
        self.hands = now
        await self._wake(lambda due: due <= now)

    async def ring_early(self) -> None:
        """Wake everybody without moving the hands."""
        await self._wake(lambda due: True)

    async def _wake(self, is_due: Callable[[datetime], bool]) -> None:
        await self.until_asleep()
        woken = [alarm for due, alarm in self._sleepers if is_due(due)]
        self._sleepers = [(due, alarm) for due, alarm in self._sleepers if not is_due(due)]
        if woken:
            self._somebody_sleeps.clear()
            for alarm in woken:
                alarm.set()
            await self.until_asleep()


class MovedStore(CrontabStore):
    """A store whose database shows what the hands of a clock do, and something more or less."""

    clock: HandClock
    ahead = timedelta(0)
    readings = 0

    async def now_at(self, monotonic: Callable[[], float]) -> tuple[datetime, float]:
        await super().now_at(monotonic)
        self.readings += 1
        return self.clock.hands + self.ahead, monotonic()

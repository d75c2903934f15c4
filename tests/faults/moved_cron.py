"""A `kongtask worker` that fires by a time which a test moves: what happens inside its process.

The machine's clock is wrong by something; the database's, as the process reads it, shows the time.
Everything else is as always.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kongtask.clock import Clock
from kongtask.postgres.crontabs import CrontabStore
from kongtask.worker.cron import CronRunner

LOOK = 0.01
"""Seconds between a sleeper's looks at the hands."""

SHORT = 1.0
"""Seconds of a sleep from which on the hands say when it ends."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORM = struct.Struct("q")


def write_hands(file: Path, now: datetime) -> None:
    """Move the hands that all processes see."""
    plan = os.open(file, os.O_WRONLY | os.O_CREAT)
    os.pwrite(plan, _FORM.pack((now - EPOCH) // timedelta(microseconds=1)), 0)
    os.close(plan)


class SharedClock(Clock):
    """A clock with the hands of a file. The file `asleep` appears with the first sleep.

    A sleep begins at the moment that was read last: no time passes between two lines of code. One
    of less than a second is real, as the hands may stand still for long.
    """

    def __init__(self, hands: Path, asleep: Path, wrong: timedelta) -> None:
        self._file = os.open(hands, os.O_RDONLY)
        self._asleep = asleep
        self._wrong = wrong
        self._seen = self._started = self.hands()

    def hands(self) -> datetime:
        """Read the hands."""
        [found] = _FORM.unpack(os.pread(self._file, _FORM.size, 0))
        self._seen = EPOCH + timedelta(microseconds=found)
        return self._seen

    def now(self) -> datetime:
        return self.hands() + self._wrong

    def monotonic(self) -> float:
        return self.monotonic_at(self.hands())

    def monotonic_at(self, hands: datetime) -> float:
        """What the monotonic clock shows at this moment."""
        return 1234.5 + (hands - self._started).total_seconds()

    async def sleep(self, seconds: float) -> None:
        due = self._seen + timedelta(seconds=seconds)
        self._asleep.touch()
        if seconds < SHORT:
            await asyncio.sleep(seconds)
            return
        while self.hands() < due:  # noqa: ASYNC110  another process moves them
            await asyncio.sleep(LOOK)


def join(hands: str, asleep: str, wrong: float) -> None:
    """Have runners of this process see the hands. `wrong`: seconds that the machine is off."""
    clock = SharedClock(Path(hands), Path(asleep), timedelta(seconds=wrong))
    begin, ask = CronRunner.__init__, CrontabStore.now_at

    def begin_moved(runner: CronRunner, store: Any, items: Any, _: Clock, **more: Any) -> None:
        begin(runner, store, items, clock, **more)

    async def ask_moved(store: CrontabStore, _: Callable[[], float]) -> tuple[datetime, float]:
        await ask(store, lambda: 0.0)
        now = clock.hands()
        return now, clock.monotonic_at(now)

    CronRunner.__init__ = begin_moved  # type: ignore[method-assign]
    CrontabStore.now_at = ask_moved  # type: ignore[method-assign]

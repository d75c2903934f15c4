"""Does pass after pass over the one pool, woken by what happens and by the time that passes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from kongtask.clock import Clock
from kongtask.dev.project import Project, Reading
from kongtask.dev.telling import Say
from kongtask.errors import ConfigurationError, KongTaskError
from kongtask.operator.model import PoolStatus
from kongtask.operator.reconcile import Reconciler

PAUSE = 0.1
"""Seconds between two passes at least, however often the loop is woken."""

RETRY = 2.0
"""Seconds after a pass that failed."""

WATCH_PERIOD = 0.5
"""Seconds between two looks at the files."""

After = Callable[[Reading, PoolStatus], Awaitable[None]]
"""Called after each pass."""


class PassLoop:
    """Keeps the pool as its files say, whatever the latest version of them that works."""

    def __init__(self, project: Project, reading: Reading, say: Say, clock: Clock) -> None:
        self._project = project
        self._say = say
        self._clock = clock
        self._wake = asyncio.Event()
        self.reading = reading

    def wake(self) -> None:
        """Let the next pass begin now."""
        self._wake.set()

    async def run(self, reconciler: Reconciler, after: After) -> None:
        """Do passes until cancelled."""
        while True:
            self._wake.clear()
            pause = await self._pass(reconciler, after)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            await self._clock.sleep(PAUSE)

    async def _pass(self, reconciler: Reconciler, after: After) -> float:
        reading = self.reading
        try:
            outcome = await reconciler.reconcile(reading.pool)
            await after(reading, outcome.status)
        except KongTaskError as error:
            self._say(f"a pass failed, the next follows in {RETRY:g} s: {error}")
            return RETRY
        return outcome.again_in

    async def watch(self) -> None:
        """Read the files again whenever one of them changed, until cancelled."""
        while True:
            await self._clock.sleep(WATCH_PERIOD)
            if self._project.changed:
                await self._read_again()

    async def _read_again(self) -> None:
        before = self.reading
        try:
            found = await self._project.read()
        except ConfigurationError as error:
            self._say(f"{error} (what ran before runs on)")
            return
        if found.pool.key != before.pool.key:
            self._say(f"the pool is now called {found.pool.key.name}: start kongtask dev again")
            return
        self.reading = found
        self._say("the manifest or its tasks changed")
        for note in found.notes:
            if note not in before.notes:
                self._say(note)
        self.wake()

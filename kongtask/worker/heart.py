"""Tells the database that this pool lives, hears what it has lost, and frees what the dead hold.

A pool that was itself cut off for a while frees nothing at first: after an outage everybody looks
dead, and the others get as long to come back as a silence may last.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta

from kongtask.clock import Clock
from kongtask.postgres.life import Beat, LifeStore

BEATS = 3
"""Heartbeats in one recovery time."""

SILENCE = 0.6
"""The part of the recovery time that a pool may be silent before others look at its session."""


class Heart:
    """Beats until cancelled, through outages.

    held: returns the ids of jobs that the pool believes to hold, and may be asked from any thread.
    on_beat: hears what a heartbeat brought, and when, by the monotonic clock, it was asked for.
    on_trouble: hears why a heartbeat failed; the next one is due soon.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        recovery_timeout: timedelta,
        held: Callable[[], Collection[int]],
        on_beat: Callable[[Beat, float], None],
        on_trouble: Callable[[Exception], None],
    ) -> None:
        self._clock = clock
        self._period = recovery_timeout.total_seconds() / BEATS
        self._silence = recovery_timeout.total_seconds() * SILENCE
        self._held = held
        self._on_beat = on_beat
        self._on_trouble = on_trouble
        self._steady_since: float | None = None
        self._last: float | None = None

    async def beat(self, store: LifeStore) -> None:
        """Beat once; raises what the database says."""
        now = self._clock.monotonic()
        if self._last is not None and now - self._last > self._silence:
            self._steady_since = None  # the process stood still, or nobody answered
        since = now if self._steady_since is None else self._steady_since
        try:
            beat = await store.beat(self._held(), free=now - since >= self._silence)
        except BaseException:
            self._steady_since = None
            raise
        self._steady_since, self._last = since, now
        self._on_beat(beat, now)

    async def run(self, store: LifeStore) -> None:
        """Beat again and again."""
        while True:
            await self._clock.sleep(self._period * self._clock.jitter(0.9, 1.1))
            try:
                await self.beat(store)
            except Exception as error:  # whatever the database says, the jobs of this pool run on
                self._on_trouble(error)

"""Knows whether the database is away, as the parts of a pool see it, and says so once.

An outage begins with the first part in trouble and ends when each that was has had an answer. It
refuses to decide what to do about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kongtask.clock import Clock
from kongtask.core.event import DATABASE_BACK, DATABASE_LOST, OutageData
from kongtask.errors import KongTaskError
from kongtask.logger import Logger
from kongtask.worker.event_bus import EventBus

Part = Literal["fetching", "recording", "heartbeat", "cron"]


@dataclass(slots=True)
class _Current:
    since: float
    said: str
    parts: set[Part]


class Outage:
    """One for each pool of workers. Not for threads: tell it on the pool's event loop."""

    def __init__(
        self,
        *,
        pool_id: str,
        logger: Logger,
        events: EventBus,
        clock: Clock,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_change = on_change
        self._pool_id = pool_id
        self._logger = logger
        self._events = events
        self._clock = clock
        self._current: _Current | None = None

    @property
    def reason(self) -> str | None:
        """What the database, or the way to it, said last; None while it answers."""
        return None if self._current is None else self._current.said

    def trouble(self, part: Part, error: Exception) -> None:
        """Hear that a part got no answer."""
        said = str(error) if isinstance(error, KongTaskError) else repr(error)
        if self._current is not None:
            self._current.parts.add(part)
            self._current.said = said
            return
        # The heart has a connection of its own, and notices some seconds later.
        self._current = _Current(self._clock.monotonic(), said, {part, "heartbeat"})
        self._logger.warn(f"no answer from PostgreSQL, trying again ({part}): {said}")
        self._events.emit(DATABASE_LOST, OutageData(pool_id=self._pool_id, error=error))
        self._on_change()

    def answered(self, part: Part) -> None:
        """Hear that a part got an answer."""
        if self._current is None or part not in self._current.parts:
            return
        self._current.parts.discard(part)
        if self._current.parts:
            return
        seconds = self._clock.monotonic() - self._current.since
        self._current = None
        self._logger.info(f"PostgreSQL answers again after {seconds:.1f} s")
        self._events.emit(DATABASE_BACK, OutageData(pool_id=self._pool_id, seconds=seconds))
        self._on_change()

"""Says once of each task that its jobs wait and that this pool does not know it.

Such jobs are left to others; a misspelt name would otherwise wait in silence for ever.
"""

from __future__ import annotations

from kongtask.clock import Clock
from kongtask.errors import KongTaskError
from kongtask.logger import Logger
from kongtask.postgres.jobs import JobStore

PERIOD = 60.0
"""Seconds between two looks."""


class UnservedTasks:
    """Looks until cancelled."""

    def __init__(self, *, store: JobStore, logger: Logger, clock: Clock) -> None:
        self._store = store
        self._logger = logger
        self._clock = clock
        self._told: set[str] = set()

    async def run(self) -> None:
        """Look once a minute."""
        while True:
            try:
                await self.look()
            except KongTaskError as error:
                self._logger.debug(f"tasks without workers cannot be looked for: {error}")
            await self._clock.sleep(PERIOD * self._clock.jitter(0.9, 1.1))

    async def look(self) -> None:
        """Log the tasks that were not logged before."""
        for name in await self._store.unserved_tasks():
            if name not in self._told:
                self._told.add(name)
                self._logger.warn(
                    f"jobs of task {name!r} wait: this worker does not know it and leaves them to "
                    "others. Add the task to what -t names, or run a worker that knows it",
                    {"task": name},
                )

"""The first contact of a worker with its database: one that starts during an outage waits.

Until then it serves /livez and /readyz like any other worker, so that nobody kills it meanwhile.
It refuses to wait for what no waiting mends: a wrong password, a database that does not exist.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

from kongtask.clock import Clock
from kongtask.errors import StoreUnavailable
from kongtask.logger import Logger
from kongtask.settings import WorkerSettings

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 2.0
"""Seconds between two attempts, before jitter."""

Contact = TypeVar("Contact")


@dataclass(slots=True)
class Waiting:
    """What the probes see of a worker that waits for its database."""

    clock: Clock
    trouble: str | None = None
    is_alive: bool = True
    is_ready: bool = False
    is_stopping: bool = False

    @property
    def turned_at(self) -> float:
        """Now: nothing runs yet that could keep the event loop from turning."""
        return self.clock.monotonic()


async def first_contact(
    contact: Callable[[], Awaitable[Contact]],
    settings: WorkerSettings,
    clock: Clock,
    logger: Logger,
) -> Contact:
    """Return what `contact` returns, tried again and again while the database is away.

    Raises `StoreUnavailable` when that lasts for longer than the settings' start_timeout, and
    whatever else `contact` raises at once.
    """
    began = clock.monotonic()
    pause = FIRST_PAUSE
    waiting = Waiting(clock)
    with ExitStack() as probes:
        while True:
            try:
                answer = await contact()
            except StoreUnavailable as error:
                left = settings.start_timeout.total_seconds() - (clock.monotonic() - began)
                if left <= 0:
                    raise
                if waiting.trouble is None:
                    logger.warn(f"no answer from PostgreSQL, trying for {left:.0f} s: {error}")
                    _serve(probes, waiting, settings, clock)
                waiting.trouble = str(error)
            else:
                if waiting.trouble is not None:
                    logger.info(f"PostgreSQL answers after {clock.monotonic() - began:.1f} s")
                return answer
            await clock.sleep(min(left, pause * clock.jitter(0.5, 1.0)))
            pause = min(LONGEST_PAUSE, pause * 2)


def _serve(probes: ExitStack, waiting: Waiting, settings: WorkerSettings, clock: Clock) -> None:
    if settings.health_port is None:
        return
    # Only who has to wait needs them this early.
    from prometheus_client import CollectorRegistry

    from kongtask.worker.health import health_server

    probes.enter_context(health_server(waiting, CollectorRegistry(), settings.health_port, clock))

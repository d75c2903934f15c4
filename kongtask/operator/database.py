"""What the operator asks of the databases of pools.

A failure is an answer too: it comes back as a Problem with a stable reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from kongtask.core.cron.schedule import Tick
from kongtask.operator.model import Connection, CronState, Pool, PoolKey, Problem

if TYPE_CHECKING:
    from kongtask.postgres.queue_state import QueueState


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseState:
    """What a pool's database says. `queue` is None while the schema lacks its tables."""

    queue: QueueState | Problem | None
    schema_version: int | None = None
    schema_problem: Problem | None = None
    cron: CronState = field(default_factory=CronState)


class Database(Protocol):
    """The databases of pools."""

    async def observe(self, pool: Pool, connection: Connection | None) -> DatabaseState:
        """Return the state of a pool's schema; failures come back as problems.

        Without a connection only the crontab is looked at.
        """

    async def enqueue(self, pool: Pool, connection: Connection, ticks: tuple[Tick, ...]) -> None:
        """Add the jobs of these moments, each exactly once; raises `StoreUnavailable`."""

    async def forget(self, key: PoolKey) -> None:
        """Close what was open for a pool that is gone."""

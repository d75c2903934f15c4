"""What the operator needs of a place where workers run, whatever that place is.

An implementation only looks and does; it decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kongtask.errors import ConfigurationError
from kongtask.operator.model import ClusterAction, ClusterState, Pool, PoolEvent, PoolStatus


class ActionRefused(ConfigurationError):
    """The place will not do what the pool asks for; `reason` is a stable word for conditions."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Cluster(Protocol):
    """A place where workers run. Every call may raise `ClusterUnavailable`."""

    async def observe(self, pool: Pool) -> ClusterState:
        """Return what there is of this pool now."""

    async def execute(self, pool: Pool, action: ClusterAction) -> None:
        """Do one action. Doing it twice must change nothing more.

        Raises `ActionRefused` when the place refuses what the pool asks for.
        """

    async def report(
        self, pool: Pool, status: PoolStatus | None, events: Sequence[PoolEvent]
    ) -> None:
        """Show the status, unless it is None because nothing worth writing changed, and events."""

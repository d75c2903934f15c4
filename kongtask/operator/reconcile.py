"""One pass over a pool: observe, plan, execute, tell. Whatever woke it, it does the same.

It knows neither kopf nor Kubernetes; what it remembers between passes can be lost without harm.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from kongtask.clock import Clock
from kongtask.errors import KongTaskError
from kongtask.operator.cluster import ActionRefused, Cluster
from kongtask.operator.database import Database
from kongtask.operator.model import (
    Action,
    ApplyWorkers,
    Connection,
    DeleteMigration,
    EnqueueCron,
    MarkDeletionCosts,
    Observed,
    Plan,
    Pool,
    PoolKey,
    PoolStatus,
    Problem,
    RunMigration,
    ScaleWorkers,
)
from kongtask.operator.plan import plan
from kongtask.operator.status import Pass, pool_status, transitions, worth_writing

logger = logging.getLogger("kongtask.operator")

NEXT_STEP = 1.0
"""Seconds until the next look after something was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a pass came to. `again_in`: seconds until the next one at the latest."""

    plan: Plan
    status: PoolStatus

    @property
    def again_in(self) -> float:
        """Seconds until the next pass, unless something happens before."""
        return min(NEXT_STEP, self.plan.again_in) if self.plan.actions else self.plan.again_in


class Reconciler:
    """Brings pools to what they say, one pass at a time."""

    def __init__(self, *, cluster: Cluster, database: Database, clock: Clock) -> None:
        self._cluster = cluster
        self._database = database
        self._clock = clock
        self._latest: dict[PoolKey, PoolStatus] = {}
        self._written: dict[PoolKey, PoolStatus] = {}

    async def reconcile(self, pool: Pool) -> Outcome:
        """Do one pass; raises `ClusterUnavailable` when the cluster cannot be asked or changed."""
        pool = replace(pool, status=self._latest.get(pool.key, pool.status))
        observed = await self._observe(pool)
        now = self._clock.now()
        decided = plan(pool, observed, now)
        refused = await self._execute(pool, observed, decided)
        done = Pass(pool=pool, observed=observed, plan=decided, now=now, refused=refused)
        await self._tell(pool, pool_status(done))
        return Outcome(plan=decided, status=self._latest[pool.key])

    async def forget(self, key: PoolKey) -> None:
        """Drop what is known of a pool that is gone."""
        self._latest.pop(key, None)
        self._written.pop(key, None)
        await self._database.forget(key)

    async def _observe(self, pool: Pool) -> Observed:
        cluster = await self._cluster.observe(pool)
        found = cluster.connection
        connection = found if isinstance(found, Connection) else None
        state = await self._database.observe(pool, connection)
        return Observed(
            cluster=cluster,
            queue=state.queue,
            schema_version=state.schema_version,
            schema_problem=state.schema_problem,
            cron=state.cron,
        )

    async def _execute(self, pool: Pool, observed: Observed, decided: Plan) -> Problem | None:
        for action in decided.actions:
            logger.info("%s: %s", pool.key, in_words(action))
            try:
                await self._do(pool, observed, action)
            except ActionRefused as error:
                logger.warning("%s: %s", pool.key, error)
                return Problem(reason=error.reason, message=str(error))
        return None

    async def _do(self, pool: Pool, observed: Observed, action: Action) -> None:
        if not isinstance(action, EnqueueCron):
            await self._cluster.execute(pool, action)
            return
        connection = observed.cluster.connection
        if isinstance(connection, Connection):
            try:
                await self._database.enqueue(pool, connection, action.ticks)
            except KongTaskError as error:
                # Due jobs stay due; the workers must not wait for them.
                logger.warning("%s: crontab: %s", pool.key, error)

    async def _tell(self, pool: Pool, status: PoolStatus) -> None:
        before = pool.status
        self._latest[pool.key] = status
        written = self._written.get(pool.key)
        news = written is None or worth_writing(written, status)
        await self._cluster.report(pool, status if news else None, transitions(before, status))
        if news:
            self._written[pool.key] = status


def in_words(action: Action) -> str:
    """Say for the log what an action does.

    >>> in_words(ScaleWorkers(replicas=3))
    'scale to 3'
    """
    match action:
        case RunMigration(name=name):
            return f"start {name}"
        case DeleteMigration(name=name):
            return f"forget {name}"
        case ApplyWorkers(replicas=replicas, revision=revision):
            return f"bring {replicas} workers to revision {revision}"
        case MarkDeletionCosts(costs=costs):
            return f"mark what stopping costs: {', '.join(f'{pod} {cost}' for pod, cost in costs)}"
        case ScaleWorkers(replicas=replicas):
            return f"scale to {replicas}"
        case EnqueueCron(ticks=ticks):
            moments = [f"{tick.timestamp:%H:%M UTC}" for tick in ticks]
            return f"add the recurring jobs of {', '.join(moments[:3])}" + "…" * (len(ticks) > 3)

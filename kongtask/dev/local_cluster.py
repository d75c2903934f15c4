"""This machine as the place where workers run: processes stand for pods.

It implements the operator's `Cluster` and decides nothing but the order of starts and stops, which
`rollout` does. The image and the Secret of the manifest play no part here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kongtask.clock import Clock
from kongtask.dev.rollout import Present, Wanted, next_steps
from kongtask.dev.telling import Say, changes
from kongtask.dev.worker_process import WorkerProcess
from kongtask.errors import KongTaskError
from kongtask.operator.model import (
    ApplyWorkers,
    ClusterAction,
    ClusterState,
    Connection,
    DeleteMigration,
    MarkDeletionCosts,
    Migration,
    Pool,
    PoolEvent,
    PoolStatus,
    RunMigration,
    ScaleWorkers,
    WorkerPod,
    WorkerSet,
)

Hire = Callable[[Pool, str], WorkerProcess]
"""Makes a worker of a pool under a name, not yet running."""

Migrate = Callable[[str], Awaitable[object]]
"""Migrates the schema of this name; raises a `KongTaskError` when it cannot."""


@dataclass(slots=True, kw_only=True)
class _Hired:
    name: str
    number: int
    revision: str
    worker: WorkerProcess
    task: asyncio.Task[None]
    cost: int = 0

    def present(self) -> Present:
        return Present(
            name=self.name,
            revision=self.revision,
            number=self.number,
            ready=self.worker.ready,
            cost=self.cost,
        )

    def pod(self) -> WorkerPod:
        return WorkerPod(
            name=self.name,
            ready=self.worker.ready,
            terminating=self.worker.stopping,
            revision=self.revision,
            deletion_cost=self.cost,
            problem=self.worker.problem,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the cluster is made with. `wake` asks for another pass."""

    connection: Connection = field(repr=False)
    hire: Hire
    migrate: Migrate
    say: Say
    wake: Callable[[], None]
    clock: Clock


class LocalCluster:
    """Implements `Cluster` for the one pool of a `kongtask dev`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._wanted: Wanted | None = None
        self._pool: Pool | None = None
        self._hired: dict[str, _Hired] = {}
        self._started = 0
        self._migrations: dict[str, Migration] = {}
        self._migrating: set[asyncio.Task[None]] = set()

    async def observe(self, pool: Pool) -> ClusterState:
        """Return what runs of this pool now."""
        return ClusterState(
            connection=self._parts.connection,
            workers=self._workers(),
            migrations=tuple(self._migrations.values()),
        )

    def _workers(self) -> WorkerSet | None:
        wanted = self._wanted
        if wanted is None:
            return None
        pods = tuple(each.pod() for each in self._hired.values())
        staying = [pod for pod in pods if not pod.terminating]
        updated = sum(pod.revision == wanted.revision for pod in staying)
        return WorkerSet(
            revision=wanted.revision,
            replicas=wanted.replicas,
            ready=sum(pod.ready for pod in staying),
            pods=pods,
            rolling=updated < len(staying) or updated < wanted.replicas,
        )

    async def execute(self, pool: Pool, action: ClusterAction) -> None:
        """Do one action; it is begun here and its end is observed."""
        match action:
            case RunMigration(name=name):
                self._begin_migration(pool, name)
            case DeleteMigration(name=name):
                self._migrations.pop(name, None)
            case ApplyWorkers(replicas=replicas, revision=revision):
                self._pool = pool
                self._want(Wanted(revision=revision, replicas=replicas))
            case ScaleWorkers(replicas=replicas) if self._wanted is not None:
                self._want(replace(self._wanted, replicas=replicas))
            case MarkDeletionCosts(costs=costs):
                self._mark(dict(costs))

    async def report(
        self, pool: Pool, status: PoolStatus | None, events: Sequence[PoolEvent]
    ) -> None:
        """Say what changed; events tell of the same changes."""
        if status is not None:
            for line in changes(pool.status, status):
                self._parts.say(line)

    async def close(self) -> None:
        """Let all workers finish their jobs and end. Closing twice is fine."""
        self._wanted = None
        for task in self._migrating:
            task.cancel()
        for each in self._hired.values():
            each.worker.stop()
        tasks = [*self._migrating, *(each.task for each in self._hired.values())]
        await asyncio.gather(*tasks, return_exceptions=True)

    def kill(self) -> int:
        """End all workers at once; return how many there were."""
        for each in self._hired.values():
            each.worker.kill()
        return len(self._hired)

    @property
    def count(self) -> int:
        """How many workers there are, leaving ones counted."""
        return len(self._hired)

    def settle(self) -> None:
        """Start and stop what brings the workers closer to what is wanted."""
        if self._wanted is None:
            return
        staying = [each for each in self._hired.values() if not each.worker.stopping]
        steps = next_steps(self._wanted, [each.present() for each in staying])
        for name in steps.stop:
            self._hired[name].worker.stop()
        for _ in range(steps.start):
            self._start(self._wanted.revision)

    def _want(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self.settle()

    def _mark(self, costs: Mapping[str, int]) -> None:
        for name, cost in costs.items():
            if name in self._hired:
                self._hired[name].cost = cost

    def _start(self, revision: str) -> None:
        assert self._pool is not None
        self._started += 1
        name = free_name(self._pool.key.name, self._hired)
        worker = self._parts.hire(self._pool, name)
        task = asyncio.create_task(self._follow(name, worker))
        self._hired[name] = _Hired(
            name=name, number=self._started, revision=revision, worker=worker, task=task
        )

    async def _follow(self, name: str, worker: WorkerProcess) -> None:
        try:
            await worker.run()
        finally:
            self._hired.pop(name, None)
            self.settle()
            self._parts.wake()

    def _begin_migration(self, pool: Pool, name: str) -> None:
        if name not in self._migrations:
            self._migrations[name] = Migration(name=name, state="Running")
            task = asyncio.create_task(self._migration(pool, name))
            self._migrating.add(task)
            task.add_done_callback(self._migrating.discard)

    async def _migration(self, pool: Pool, name: str) -> None:
        try:
            await self._parts.migrate(pool.spec.schema)
        except KongTaskError as error:
            ended = Migration(name=name, state="Failed", message=str(error))
        else:
            ended = Migration(name=name, state="Succeeded")
        self._migrations[name] = replace(ended, finished_at=self._parts.clock.now())
        self._parts.wake()


def free_name(pool: str, taken: Mapping[str, object]) -> str:
    """Return the first of mail-1, mail-2, … that is not taken.

    >>> free_name("mail", {"mail-1": None, "mail-3": None})
    'mail-2'
    """
    names = (f"{pool}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)

"""The words of the operator: what a pool asks for, what is seen, what is to be done.

Plain values only. Kubernetes' own shapes stay in `resources` and in the cluster doors, so that the
same decisions drive a cluster and the processes of one machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from kongtask.core.cron.schedule import Tick

if TYPE_CHECKING:
    from kongtask.postgres.queue_state import QueueState


@dataclass(frozen=True, slots=True, order=True)
class PoolKey:
    """The namespace and name of a pool.

    >>> str(PoolKey("shop", "mail"))
    'shop/mail'
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """Which key of which Secret holds the connection string."""

    name: str
    key: str = "uri"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How the number of workers follows the queue; times are in seconds."""

    mode: Literal["Auto", "Manual"] = "Auto"
    min_replicas: int = 0
    max_replicas: int = 10
    target_jobs_per_replica: int | None = None
    cooldown_seconds: int = 300
    poll_period_seconds: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Where workers send their spans."""

    mode: Literal["Disabled", "Enabled"] = "Disabled"
    endpoint: str | None = None
    protocol: Literal["Grpc", "HttpProtobuf"] = "Grpc"
    sampling_percent: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVar:
    """One variable of the workers' environment: a value, or where the cluster finds it."""

    name: str
    value: str | None = None
    value_from: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """What a pool asks for, its defaults filled in."""

    image: str
    secret: SecretRef
    image_pull_policy: str | None = None
    modules: tuple[str, ...] = ()
    concurrency: int = 10
    schema: str = "graphile_worker"
    crontab: str | None = None
    scaling: Scaling = field(default_factory=Scaling)
    replicas: int | None = None
    drain_timeout_seconds: int = 300
    tracing: Tracing = field(default_factory=Tracing)
    resources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    env: tuple[EnvVar, ...] = ()
    suspend: bool = False

    @property
    def target_jobs(self) -> int:
        """How many jobs, waiting and running, one worker pod should carry."""
        return self.scaling.target_jobs_per_replica or self.concurrency

    @property
    def queue_cap(self) -> int:
        """At how many waiting jobs counting stops: one more would not change the decision."""
        return self.scaling.max_replicas * self.target_jobs + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One statement about a pool with its stable reason."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    since: datetime
    generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSummary:
    """The queue as the status shows it."""

    ready: int
    ready_capped: bool
    running: int
    next_run_at: datetime | None
    observed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingMemory:
    """What scaling has to remember between two passes.

    `last_active`: the pool last had a job. `last_needed`: so many workers were last needed.
    """

    last_active: datetime | None = None
    last_needed: datetime | None = None
    last_scaled: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStatus:
    """What the operator says about a pool. `tasks`: those that its workers have announced."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    selector: str = ""
    replicas: int = 0
    ready_replicas: int = 0
    desired_replicas: int = 0
    draining_replicas: int = 0
    image: str = ""
    current_revision: str = ""
    target_revision: str = ""
    schema_version: int | None = None
    tasks: tuple[str, ...] = ()
    migration_job: str = ""
    queue: QueueSummary | None = None
    scaling: ScalingMemory = field(default_factory=ScalingMemory)
    crontab_entries: int | None = None
    next_cron_at: datetime | None = None

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of this type, or None."""
        return next((each for each in self.conditions if each.type == kind), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One pool as it was last read: what it asks for and what was last said about it."""

    key: PoolKey
    uid: str
    generation: int
    created_at: datetime
    spec: PoolSpec
    status: PoolStatus = field(default_factory=PoolStatus)
    deleting_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why something is not as it should be: a stable reason, and a sentence for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A connection string, never shown, and a fingerprint that changes when it does."""

    uri: str = field(repr=False)
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPod:
    """One worker pod, or one worker process. `problem` says why it does not become ready."""

    name: str
    ready: bool
    terminating: bool = False
    revision: str = ""
    deletion_cost: int = 0
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSet:
    """The workers of a pool: how many are wanted, of which revision, and what there is.

    `rolling`: pods of an older revision are still counted, or the last change was not yet taken up.
    `drifted`: somebody else changed what the operator had written.
    """

    revision: str
    replicas: int
    ready: int = 0
    pods: tuple[WorkerPod, ...] = ()
    rolling: bool = False
    drifted: bool = False
    problem: Problem | None = None

    @property
    def draining(self) -> int:
        """How many pods were told to stop and have not gone."""
        return sum(pod.terminating for pod in self.pods)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One migration run. `message` is the last sentence of an attempt that failed.

    `reason` is a stable word for what keeps it from working, or empty.
    """

    name: str
    state: Literal["Running", "Succeeded", "Failed"]
    message: str = ""
    reason: str = ""
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """What a cluster says about one pool. `workers` is None when there never were any."""

    connection: Connection | Problem
    workers: WorkerSet | None = None
    migrations: tuple[Migration, ...] = ()

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the connection string, or None when there is none to read."""
        return self.connection.fingerprint if isinstance(self.connection, Connection) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CronState:
    """The crontab as it is followed now: how many items, what is due, what comes next.

    `problem` says why the crontab of the spec is not the one that is followed. `tasks`: those that
    its items name.
    """

    entries: int = 0
    tasks: tuple[str, ...] = ()
    due: tuple[Tick, ...] = ()
    next_at: datetime | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything one pass knows.

    `queue` is a Problem when the database cannot be asked; `schema_problem` says why the answer of
    a reachable database is no use yet, for example because its tables do not exist.
    """

    cluster: ClusterState
    queue: QueueState | Problem | None
    schema_version: int | None = None
    schema_problem: Problem | None = None
    cron: CronState = field(default_factory=CronState)

    @property
    def counts(self) -> QueueState | None:
        """The queue's counts, or None when they are unknown."""
        return None if self.queue is None or isinstance(self.queue, Problem) else self.queue

    def announced_tasks(self, revision: str | None) -> tuple[str, ...]:
        """Return the tasks that the pool's workers of this revision say they know."""
        workers, counts = self.cluster.workers, self.counts
        if workers is None or counts is None:
            return ()
        pods = [pod.name for pod in workers.pods if pod.revision == revision]
        return tuple(sorted({task for pod in pods for task in counts.announced.get(pod, ())}))

    def busy_jobs(self) -> dict[str, int]:
        """Return how many jobs each pod runs, for the pods that run any."""
        workers, counts = self.cluster.workers, self.counts
        if workers is None or counts is None:
            return {}
        jobs = {pod.name: jobs_of_pod(pod.name, counts.locked_by) for pod in workers.pods}
        return {name: count for name, count in jobs.items() if count}


def jobs_of_pod(name: str, locked_by: Mapping[str, int]) -> int:
    """Return how many of the locks belong to a pod: `pool-<pod>-<18 hex>` or `pool-<pod>-<n>-…`.

    >>> jobs_of_pod("mail-x", {"pool-mail-x-0123": 2, "pool-mail-x-1-4567": 3, "pool-mail-xy-0": 1})
    5
    """
    own = re.compile(rf"pool-{re.escape(name)}-(?:[0-9]{{1,2}}-)?[^-]+")
    return sum(count for locker, count in locked_by.items() if own.fullmatch(locker))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMigration:
    """Start the migration of this name from the pool's image."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteMigration:
    """Forget a migration run, so that it is not taken for the current one."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyWorkers:
    """Bring the workers' template to this revision, with this many replicas."""

    replicas: int
    revision: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkDeletionCosts:
    """Say what losing each pod would cost, so that idle ones go first."""

    costs: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleWorkers:
    """Change only how many workers there are."""

    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueCron:
    """Add the jobs of these moments, each exactly once whoever else tries."""

    ticks: tuple[Tick, ...]


ClusterAction = RunMigration | DeleteMigration | ApplyWorkers | MarkDeletionCosts | ScaleWorkers
Action = ClusterAction | EnqueueCron


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingDecision:
    """How many workers there should be, why in one word, and why in a sentence."""

    replicas: int
    reason: str
    message: str
    memory: ScalingMemory = field(default_factory=ScalingMemory)
    active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one pass does, in order. `again_in`: seconds until the next look at the latest."""

    actions: tuple[Action, ...] = ()
    decision: ScalingDecision
    revision: str | None = None
    migration: str | None = None
    again_in: float = 5.0
    drained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolEvent:
    """Something that happened to a pool, told once."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str

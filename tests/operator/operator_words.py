"""Short ways to say what a test is about: pools, what was seen of them, moments."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from kongtask.operator.model import (
    ClusterState,
    Connection,
    CronState,
    Migration,
    Observed,
    Pool,
    PoolKey,
    PoolSpec,
    PoolStatus,
    Problem,
    Scaling,
    ScalingMemory,
    SecretRef,
    WorkerPod,
    WorkerSet,
)
from kongtask.operator.revision import migration_name, worker_revision
from kongtask.postgres.queue_state import QueueState

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = PoolKey("shop", "mail")
SPEC = PoolSpec(image="shop/tasks:1", secret=SecretRef(name="database"))
CONNECTION = Connection(uri="postgres://me:hunter2@db/shop", fingerprint="f1")
REVISION = worker_revision(SPEC, "f1")
MIGRATION = migration_name(KEY, SPEC, "f1")
IDLE_LONG = ScalingMemory(
    last_active=NOW - timedelta(hours=1), last_needed=NOW - timedelta(hours=1)
)
LOCKER = "0123456789abcdef01"


def pool(spec: PoolSpec = SPEC, memory: ScalingMemory = IDLE_LONG, **changes: Any) -> Pool:
    """A pool that has been there for a while."""
    return Pool(
        key=KEY,
        uid="uid-1",
        generation=1,
        created_at=NOW - timedelta(days=1),
        spec=spec,
        status=PoolStatus(scaling=memory),
        **changes,
    )


def spec(**changes: Any) -> PoolSpec:
    """The usual spec with some fields changed."""
    return replace(SPEC, **changes)


def scaled(**changes: Any) -> PoolSpec:
    """The usual spec with some fields of scaling changed."""
    return replace(SPEC, scaling=replace(Scaling(), **changes))


def queue(ready: int = 0, *, busy: dict[str, int] | None = None, **changes: Any) -> QueueState:
    """A queue; `busy` says how many jobs each pod runs."""
    locked_by = {f"pool-{pod}-{LOCKER}": jobs for pod, jobs in (busy or {}).items()}
    return QueueState(
        ready=ready, running=sum(locked_by.values()), locked_by=locked_by, now=NOW, **changes
    )


def workers(count: int, **changes: Any) -> WorkerSet:
    """So many ready workers of the current revision, called mail-0, mail-1, …"""
    pods = tuple(WorkerPod(name=f"mail-{each}", ready=True) for each in range(count))
    return replace(WorkerSet(revision=REVISION, replicas=count, ready=count, pods=pods), **changes)


def migration(state: Any = "Succeeded", name: str = MIGRATION, **changes: Any) -> Migration:
    """A migration run, by default the current one, done."""
    return Migration(name=name, state=state, **changes)


def seen(
    there: WorkerSet | None = None,
    jobs: QueueState | Problem | None = None,
    *runs: Migration,
    connection: Connection | Problem = CONNECTION,
    cron: CronState | None = None,
    schema_problem: Problem | None = None,
) -> Observed:
    """What was observed; the database is reachable and idle unless something else is said."""
    return Observed(
        cluster=ClusterState(connection=connection, workers=there, migrations=runs),
        queue=queue() if jobs is None and schema_problem is None else jobs,
        schema_problem=schema_problem,
        cron=cron or CronState(),
    )

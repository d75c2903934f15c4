"""Decides what one pass does about a pool, from what it asks for and what was seen.

Each step of a change waits until the one before it is seen to have worked: the migration, then the
workers' template, then their number. It does nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from kongtask.operator.model import (
    Action,
    ApplyWorkers,
    DeleteMigration,
    EnqueueCron,
    MarkDeletionCosts,
    Migration,
    Observed,
    Plan,
    Pool,
    RunMigration,
    ScaleWorkers,
    ScalingDecision,
    ScalingMemory,
    WorkerSet,
)
from kongtask.operator.revision import migration_name, worker_revision
from kongtask.operator.scaling import ScalingInput, decide, scaling_input

MIGRATION_RETRY = timedelta(seconds=60)
"""How long a failed migration is left to be read before it is tried again."""

DRAIN_GRACE = timedelta(seconds=60)
"""How much longer than the drain timeout a deleted pool waits for its workers."""

BUSY_COST = 100


def plan(pool: Pool, observed: Observed, now: datetime) -> Plan:
    """Return what to do about a pool now."""
    if pool.deleting_since is not None:
        return _farewell(pool, observed, now)
    decision = desired_workers(pool, observed, now)
    revision, migration = targets(pool, observed)
    actions: tuple[Action, ...] = (
        *_cron(pool, observed),
        *_migrations(pool, observed, migration, now),
        *_workers(pool, observed, decision, revision),
    )
    return Plan(
        actions=actions,
        decision=decision,
        revision=revision,
        migration=migration,
        again_in=_patience(pool, observed, now),
    )


def targets(pool: Pool, observed: Observed) -> tuple[str | None, str | None]:
    """Return the revision and the migration the pool asks for; None while its Secret is missing."""
    fingerprint = observed.cluster.fingerprint
    if fingerprint is None:
        return None, None
    return (
        worker_revision(pool.spec, fingerprint),
        migration_name(pool.key, pool.spec, fingerprint),
    )


def desired_workers(pool: Pool, observed: Observed, now: datetime) -> ScalingDecision:
    """Return the scaling decision for what was seen."""
    given = scaling_input(pool.spec, now, pool.status.scaling)
    given = replace(given, current=_replicas(observed), busy=len(observed.busy_jobs()))
    counts = observed.counts
    if counts is not None:
        given = _counted(given, observed)
    return decide(given)


def _counted(given: ScalingInput, observed: Observed) -> ScalingInput:
    counts = observed.counts
    assert counts is not None
    return replace(
        given,
        ready=counts.ready,
        capped=counts.ready_capped,
        running=counts.running,
        next_run_at=counts.next_run_at,
    )


def _replicas(observed: Observed) -> int:
    workers = observed.cluster.workers
    return 0 if workers is None else workers.replicas


def current_migration(observed: Observed, name: str | None) -> Migration | None:
    """Return the migration run of this name, if there is one."""
    runs = observed.cluster.migrations
    return next((each for each in runs if each.name == name), None)


def migrated(observed: Observed, name: str | None) -> bool:
    """Return whether the migration of this name has succeeded."""
    run = current_migration(observed, name)
    return run is not None and run.state == "Succeeded"


def _cron(pool: Pool, observed: Observed) -> Iterator[Action]:
    if observed.cron.due and observed.counts is not None and not pool.spec.suspend:
        yield EnqueueCron(ticks=observed.cron.due)


def _migrations(
    pool: Pool, observed: Observed, name: str | None, now: datetime
) -> Iterator[Action]:
    if name is None:
        return
    current = current_migration(observed, name)
    if current is None and _may_change(pool, observed):
        yield RunMigration(name=name)
    elif current is not None and current.state == "Failed" and _stale(current, now):
        yield DeleteMigration(name=name)
    if current is not None and current.state == "Succeeded":
        others = (each for each in observed.cluster.migrations if each.name != name)
        yield from (DeleteMigration(name=each.name) for each in others if each.state != "Running")


def _stale(run: Migration, now: datetime) -> bool:
    return run.finished_at is None or now >= run.finished_at + MIGRATION_RETRY


def _may_change(pool: Pool, observed: Observed) -> bool:
    """Whether the workers may be made or replaced: nothing the user wrote is known to be wrong."""
    schema = observed.schema_problem
    if schema is not None and schema.reason != "Pending":
        return False  # somebody else's tables, or too new ones: a migration would change nothing
    reachable = observed.counts is not None or schema is not None
    return reachable and observed.cron.problem is None and not pool.spec.suspend


def _workers(
    pool: Pool, observed: Observed, decision: ScalingDecision, revision: str | None
) -> Iterator[Action]:
    workers = observed.cluster.workers
    ready = revision is not None and migrated(observed, targets(pool, observed)[1])
    if workers is None:
        if revision is not None and ready and _may_change(pool, observed):
            yield _apply(observed, decision.replicas, revision)
        return
    changed = workers.revision != revision or workers.drifted
    if revision is not None and ready and changed and _may_change(pool, observed):
        yield _apply(observed, workers.replicas, revision)
    elif decision.replicas < workers.replicas:
        yield from lowering(observed, workers, decision.replicas)
    elif decision.replicas > workers.replicas and not workers.rolling:
        yield ScaleWorkers(replicas=decision.replicas)


def _apply(observed: Observed, replicas: int, revision: str) -> Action:
    fingerprint = observed.cluster.fingerprint or ""
    return ApplyWorkers(replicas=replicas, revision=revision, fingerprint=fingerprint)


def lowering(observed: Observed, workers: WorkerSet, replicas: int) -> Iterator[Action]:
    """Yield the steps to fewer workers: first the costs, so that the idle ones go."""
    busy = observed.busy_jobs()
    costs = {pod.name: _cost(busy.get(pod.name, 0)) for pod in workers.pods if not pod.terminating}
    known = {pod.name: pod.deletion_cost for pod in workers.pods}
    changed = tuple((name, cost) for name, cost in costs.items() if known[name] != cost)
    if changed and replicas > 0:
        yield MarkDeletionCosts(costs=changed)
    yield ScaleWorkers(replicas=replicas)


def _cost(jobs: int) -> int:
    return BUSY_COST + jobs if jobs else 0


def _farewell(pool: Pool, observed: Observed, now: datetime) -> Plan:
    workers = observed.cluster.workers
    assert pool.deleting_since is not None
    limit = timedelta(seconds=pool.spec.drain_timeout_seconds) + DRAIN_GRACE
    gone = workers is None or (workers.replicas == 0 and not workers.pods)
    over = now >= pool.deleting_since + limit
    stop = workers is not None and workers.replicas > 0
    decision = ScalingDecision(
        replicas=0,
        reason="Deleting",
        message="0 because the pool is deleted",
        memory=pool.status.scaling or ScalingMemory(),
        active=False,
    )
    actions = (ScaleWorkers(replicas=0),) if stop else ()
    return Plan(actions=actions, decision=decision, again_in=1.0, drained=gone or over)


def _patience(pool: Pool, observed: Observed, now: datetime) -> float:
    """Seconds until the next look: the poll period, or sooner when something is due."""
    longest = float(pool.spec.scaling.poll_period_seconds)
    counts = observed.counts
    due = [observed.cron.next_at if not pool.spec.suspend else None]
    due.append(counts.next_run_at if counts is not None else None)
    waits = [(moment - now).total_seconds() for moment in due if moment is not None]
    return max(0.5, min([longest, *waits]))

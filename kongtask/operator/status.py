"""Decides what is said about a pool: its conditions, its counters, and what is worth telling.

Every condition is always there, each with a reason from a published list. It writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from kongtask.operator.model import (
    Condition,
    Migration,
    Observed,
    Plan,
    Pool,
    PoolEvent,
    PoolStatus,
    Problem,
    QueueSummary,
    WorkerSet,
)
from kongtask.operator.plan import current_migration

CONDITIONS = (
    "Ready", "DatabaseReachable", "SchemaMigrated", "CrontabValid",
    "WorkersAvailable", "ScalingActive",
)  # fmt: skip

QUEUE_REFRESH = timedelta(seconds=60)
"""How old the queue's numbers in the status may get when they hardly change."""

QUIET_REASONS = frozenset({"Pending", "Running", "Starting", "NotStarted"})
"""Reasons for False that are steps on the way, not worth a warning."""

State = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What holds about one condition now, before it is compared with what was said."""

    status: State
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one pass of the operator knows when it comes to tell. `refused`: an action failed."""

    pool: Pool
    observed: Observed
    plan: Plan
    now: datetime
    refused: Problem | None = None


def pool_status(done: Pass) -> PoolStatus:
    """Return the status of a pool after a pass."""
    pool, observed, plan = done.pool, done.observed, done.plan
    workers = observed.cluster.workers
    return PoolStatus(
        observed_generation=pool.generation,
        conditions=conditions(done),
        selector=f"kongtask.dev/pool={pool.key.name},app.kubernetes.io/component=worker",
        replicas=0 if workers is None else len(workers.pods) - workers.draining,
        ready_replicas=0 if workers is None else workers.ready,
        desired_replicas=plan.decision.replicas,
        draining_replicas=0 if workers is None else workers.draining,
        image=pool.spec.image,
        current_revision="" if workers is None else workers.revision,
        target_revision=plan.revision or pool.status.target_revision,
        schema_version=_schema_version(done),
        tasks=_tasks(done),
        migration_job=plan.migration or pool.status.migration_job,
        queue=_queue(done),
        scaling=plan.decision.memory,
        crontab_entries=observed.cron.entries,
        next_cron_at=observed.cron.next_at,
    )


def _schema_version(done: Pass) -> int | None:
    if done.observed.schema_version is None:
        return done.pool.status.schema_version
    return done.observed.schema_version


def _tasks(done: Pass) -> tuple[str, ...]:
    """Return what the current workers announced, else what they said before."""
    before = done.pool.status
    announced = done.observed.announced_tasks(done.plan.revision)
    if announced or done.plan.revision not in (None, before.target_revision):
        return announced
    return before.tasks


def _queue(done: Pass) -> QueueSummary | None:
    counts = done.observed.counts
    if counts is None:
        return done.pool.status.queue
    return QueueSummary(
        ready=counts.ready,
        ready_capped=counts.ready_capped,
        running=counts.running,
        next_run_at=counts.next_run_at,
        observed_at=counts.now,
    )


def conditions(done: Pass) -> tuple[Condition, ...]:
    """Return all conditions; the time of one changes only when its status does."""
    found = {name: finding(done) for name, finding in FINDINGS.items()}
    found = {"Ready": _ready(done, found), **found}
    return tuple(_condition(done, name, found[name]) for name in CONDITIONS)


def _condition(done: Pass, name: str, found: Finding) -> Condition:
    before = done.pool.status.condition(name)
    same = before is not None and before.status == found.status
    return Condition(
        type=name,
        status=found.status,
        reason=found.reason,
        message=found.message,
        since=before.since if before is not None and same else done.now,
        generation=done.pool.generation,
    )


def _true(reason: str, message: str) -> Finding:
    return Finding(status="True", reason=reason, message=message)


def _false(reason: str, message: str) -> Finding:
    return Finding(status="False", reason=reason, message=message)


def _unknown(reason: str, message: str) -> Finding:
    return Finding(status="Unknown", reason=reason, message=message)


def _database(done: Pass) -> Finding:
    connection, queue = done.observed.cluster.connection, done.observed.queue
    for problem in (connection, queue):
        if isinstance(problem, Problem):
            return _false(problem.reason, problem.message)
    if done.observed.counts is not None and done.observed.counts.read_only:
        return _false(
            "ReadOnly", "the server takes no writes: let the connection string name the primary"
        )
    return _true("Connected", "the database answers")


def _schema(done: Pass) -> Finding:
    if isinstance(done.observed.cluster.connection, Problem):
        return _unknown("Pending", "the migration needs the connection string")
    if done.plan.migration is None:
        return _unknown("Pending", "nothing is migrated for a pool that is being deleted")
    run = current_migration(done.observed, done.plan.migration)
    if run is not None:
        return _migration(run, done.observed)
    problem = done.observed.schema_problem
    if problem is not None and problem.reason != "Pending":
        return _false(problem.reason, problem.message)
    return _false("Pending", f"{done.plan.migration} has not started")


def _migration(run: Migration, observed: Observed) -> Finding:
    if run.state == "Succeeded":
        level = "" if observed.schema_version is None else f" to {observed.schema_version}"
        return _true("Migrated", f"{run.name} migrated the schema{level}")
    if run.state == "Running":
        return _false(run.reason or "Running", f"{run.name} is running{_about(run.message)}")
    problem = observed.schema_problem
    reason = problem.reason if problem and problem.reason != "Pending" else "Failed"
    said = _about(run.message) or f": see the logs of job {run.name}"
    return _false(reason, f"{run.name} failed{said}")


def _about(message: str) -> str:
    return f": {message}" if message else ""


def _crontab(done: Pass) -> Finding:
    cron = done.observed.cron
    if cron.problem is not None:
        return _false(cron.problem.reason, cron.problem.message)
    if not cron.entries:
        return _true("NoCrontab", "the pool has no recurring jobs")
    known = _tasks(done)
    unknown = [task for task in cron.tasks if known and task not in known]
    if unknown:
        return _false(
            "UnknownTask",
            f"the workers have no task {_named(unknown)}, they know {_named(known)}: correct the "
            "crontab, or add the task to the image and tasks.modules",
        )
    return _true("Parsed", _count(cron.entries, "recurring job"))


def _workers(done: Pass) -> Finding:
    workers, desired = done.observed.cluster.workers, done.plan.decision.replicas
    if done.refused is not None:
        return _false(done.refused.reason, done.refused.message)
    if workers is None:
        return _false("NotStarted", "workers start when the schema is migrated")
    problem = _worker_problem(workers)
    if workers.ready == 0 and workers.replicas > 0:
        return _false(
            *(problem or ("Starting", f"0 of {_count(workers.replicas, 'worker')} ready"))
        )
    if desired == 0 and workers.replicas == 0:
        unknown = _unknown_jobs(done)
        if unknown is not None:
            return _true("UnknownTask", f"no workers are wanted; {unknown}")
        return _true("ScaledToZero", "no workers are wanted")
    if workers.ready == 0:
        return _false("Starting", f"0 of {_count(desired, 'worker')} ready")
    said = f"{workers.ready} of {_count(workers.replicas, 'worker')} ready"
    if problem is not None:
        return _true(problem[0], f"{said}; {problem[1]}")
    unknown = _unknown_jobs(done)
    if unknown is not None:
        return _true("UnknownTask", f"{said}; {unknown}")
    return _true("RollingOut" if workers.rolling else "Available", said)


def _unknown_jobs(done: Pass) -> str | None:
    """Say which jobs wait for ever because no worker of the pool knows their task."""
    counts = done.observed.counts
    if counts is None or not counts.unknown_tasks:
        return None
    return (
        f"jobs wait whose task the workers do not know, {_named(counts.unknown_tasks)}: add the "
        "task to the image and tasks.modules, or remove the jobs"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _named(tasks: Sequence[str]) -> str:
    shown = ", ".join(repr(task) for task in tasks[:5])
    return f"{shown} and {len(tasks) - 5} more" if len(tasks) > 5 else shown


def _worker_problem(workers: WorkerSet) -> tuple[str, str] | None:
    pods = (pod.problem for pod in workers.pods if not pod.terminating and pod.problem is not None)
    problem = workers.problem or next(pods, None)
    return None if problem is None else (problem.reason, problem.message)


def _scaling(done: Pass) -> Finding:
    decision, workers = done.plan.decision, done.observed.cluster.workers
    if not decision.active:
        return _false(decision.reason, decision.message)
    held = workers is not None and workers.rolling and decision.replicas > workers.replicas
    if held and workers is not None:
        return _true(
            "HeldByRollout", f"{workers.replicas} until the rollout ends; {decision.message}"
        )
    return _true(decision.reason, decision.message)


def _ready(done: Pass, found: dict[str, Finding]) -> Finding:
    if done.pool.deleting_since is not None:
        return _false("Deleting", "the pool is deleted once its workers have stopped")
    wrong = [
        found[name]
        for name in CONDITIONS
        if name in found and name != "ScalingActive" and found[name].status != "True"
    ]
    wrong = [each for each in wrong if not _wakes(done, each)]
    if wrong:
        # What somebody has to mend comes before what waits for it.
        worst = next((each for each in wrong if each.reason not in QUIET_REASONS), wrong[0])
        return replace(worst, status="False")
    if done.pool.spec.suspend:
        return _true("Suspended", "the pool rests because suspend is true")
    return _true("Ready", found["WorkersAvailable"].message)


def _wakes(done: Pass, found: Finding) -> bool:
    """Whether a pool that was well only waits for the first worker after a rest."""
    before = done.pool.status.condition("Ready")
    return found.reason == "Starting" and before is not None and before.status == "True"


FINDINGS: dict[str, Callable[[Pass], Finding]] = {
    "DatabaseReachable": _database,
    "SchemaMigrated": _schema,
    "CrontabValid": _crontab,
    "WorkersAvailable": _workers,
    "ScalingActive": _scaling,
}


def worth_writing(before: PoolStatus, after: PoolStatus) -> bool:
    """Return whether the status changed by more than the queue's small movements."""
    return _without_counts(before) != _without_counts(after) or _queue_moved(
        before.queue, after.queue
    )


def _without_counts(status: PoolStatus) -> PoolStatus:
    quiet = replace(status.scaling, last_active=None, last_needed=None, reason="")
    calm = tuple(
        replace(each, message="") if each.type == "ScalingActive" else each
        for each in status.conditions
    )
    return replace(status, queue=None, scaling=quiet, conditions=calm)


def _queue_moved(before: QueueSummary | None, after: QueueSummary | None) -> bool:
    if before is None or after is None:
        return before is not after
    if after.observed_at - before.observed_at >= QUEUE_REFRESH:
        return True
    pairs = ((before.ready, after.ready), (before.running, after.running))
    return any(_moved(old, new) for old, new in pairs)


def _moved(before: int, after: int) -> bool:
    return (before == 0) != (after == 0) or abs(after - before) > 0.2 * before


def transitions(before: PoolStatus, after: PoolStatus) -> list[PoolEvent]:
    """Return the events between two statuses: flipped conditions and a changed scale."""
    return [*_flips(before, after), *_scalings(before, after)]


def _flips(before: PoolStatus, after: PoolStatus) -> Iterator[PoolEvent]:
    for new in after.conditions:
        old = before.condition(new.type)
        told = (new.status, new.reason) if old is None else (old.status, old.reason)
        if new.type in ("Ready", "ScalingActive") or told == (new.status, new.reason):
            continue
        bad = new.status == "False" and new.reason not in QUIET_REASONS
        bad = bad or new.reason == "UnknownTask"
        mended = old is not None and old.status == "False" and new.status == "True"
        if bad or mended:
            yield PoolEvent(
                kind="Warning" if bad else "Normal", reason=new.reason, message=new.message
            )


def _scalings(before: PoolStatus, after: PoolStatus) -> Iterator[PoolEvent]:
    old, new = before.desired_replicas, after.desired_replicas
    if old != new:
        yield PoolEvent(
            kind="Normal",
            reason="ScaledUp" if new > old else "ScaledDown",
            message=f"from {old} to {new} workers: {after.scaling.reason}",
        )

"""Judges what stands in the tables: locks that nobody will free, and jobs that nobody will run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from kongtask.core.diagnosis.finding import Finding, fine, listed, wrong
from kongtask.core.holders import GRAPHILES_PATIENCE, Holder, Pool, held, is_alive, reason
from kongtask.core.wording import counted, span

LONG_DUE = timedelta(minutes=1)
"""How long a due job waits until it is asked who should run it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLock:
    """A named queue that is locked although none of its jobs runs."""

    queue_name: str
    locked_by: str
    held_for: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class DueJobs:
    """So many jobs of a task are due, the first for so long."""

    task: str
    jobs: int
    due_for: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedJobs:
    """So many jobs of a task failed for good, the last so long ago."""

    task: str
    jobs: int
    ago: timedelta


def stale_locks(holders: Sequence[Holder]) -> list[Finding]:
    """Judge who holds locks."""
    found = [finding for holder in holders if (finding := _stale(holder))]
    if found:
        return found
    jobs = sum(holder.jobs for holder in holders)
    return [
        fine("stale locks", f"{counted(jobs, 'job')} held by {counted(len(holders), 'pool')}")
        if holders
        else fine("stale locks", "nothing is locked")
    ]


def _stale(holder: Holder) -> Finding | None:
    old = holder.life == "unknown" and holder.held_for > GRAPHILES_PATIENCE
    if holder.life != "dead" and not old:
        return None
    died = "has died" if holder.life == "dead" else "has held them for more than 4 hours"
    return wrong(
        "stale locks",
        f"{held(holder)} locked by {holder.pool_id!r}, which {died}: {reason(holder)}",
        why="these jobs do not run, nor do others of their queues, until the locks are freed; a "
        "pool of workers that lives does so within seconds, so none may be running here",
        then=f"start a worker, or `kongtask unlock {holder.pool_id}`",
    )


def queue_locks(locks: Sequence[QueueLock], pools: Sequence[Pool]) -> list[Finding]:
    """Judge queues that are locked although none of their jobs runs.

    A pool that lives frees such a queue by itself.
    """
    alive = {pool.pool_id for pool in pools if is_alive(pool)}
    left = [lock for lock in locks if lock.locked_by not in alive]
    if not left:
        return [fine("queue locks", "every locked queue has a job that runs")]
    names = listed([f"{lock.queue_name!r} (by {lock.locked_by!r})" for lock in left])
    holders = " ".join(dict.fromkeys(lock.locked_by for lock in left))
    oldest = max(lock.held_for for lock in left)
    return [
        wrong(
            "queue locks",
            f"{counted(len(left), 'queue')} locked for up to {span(oldest)} without a job that "
            f"runs: {names}",
            why="no job of these queues begins while they are locked",
            then=f"when what locked them is gone: `kongtask unlock {holders}`",
        )
    ]


def unserved_tasks(due: Sequence[DueJobs], pools: Sequence[Pool]) -> list[Finding]:
    """Judge whether somebody runs the jobs that are due."""
    alive = [pool for pool in pools if is_alive(pool)]
    served = {task for pool in alive for task in pool.tasks}
    left = [each for each in due if each.task not in served and each.due_for > LONG_DUE]
    jobs = sum(each.jobs for each in due)
    if not left:
        return [fine("unserved tasks", f"{counted(jobs, 'job')} due, {_serving(alive, served)}")]
    names = listed([f"{each.task} ({counted(each.jobs, 'job')})" for each in left])
    oldest = max(each.due_for for each in left)
    return [
        wrong(
            "unserved tasks",
            f"due for up to {span(oldest)} and served by no pool of workers that lives: {names}; "
            f"{_serving(alive, served)}",
            why="they wait until somebody runs their task. Workers of Graphile Worker do not say "
            "which tasks they know, and may only be busy",
            then="start a worker that has these tasks, correct the name where jobs are added, or "
            "fail them with `permanently_fail_jobs`",
        )
    ]


def _serving(alive: Sequence[Pool], served: set[str]) -> str:
    if not alive:
        return "no pool of workers lives"
    return f"{counted(len(alive), 'pool')} of workers, of {counted(len(served), 'task')}"


def failed_jobs(failed: Sequence[FailedJobs]) -> list[Finding]:
    """Judge jobs that failed for good."""
    if not failed:
        return [fine("failed jobs", "none failed for good")]
    names = listed([f"{each.task} ({each.jobs:,})" for each in failed])
    latest = min(each.ago for each in failed)
    total = sum(each.jobs for each in failed)
    return [
        wrong(
            "failed jobs",
            f"{counted(total, 'job')} failed for good, the last {span(latest)} ago: {names}",
            why="they are not tried again, stay in the table, and their keys stay taken",
            then="see why with `kongtask jobs --state failed`; revive them with `reschedule_jobs` "
            "and attempts=0, or delete them with `cleanup` and delete_permafailed_jobs",
        )
    ]

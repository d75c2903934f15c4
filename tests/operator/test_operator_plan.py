"""What one pass does about a pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from operator_words import (
    IDLE_LONG,
    KEY,
    MIGRATION,
    NOW,
    REVISION,
    migration,
    pool,
    queue,
    scaled,
    seen,
    spec,
    workers,
)

from kongtask.core.cron.schedule import Tick
from kongtask.operator.model import (
    Action,
    ApplyWorkers,
    CronState,
    DeleteMigration,
    EnqueueCron,
    MarkDeletionCosts,
    Observed,
    Pool,
    Problem,
    RunMigration,
    ScaleWorkers,
)
from kongtask.operator.plan import plan
from kongtask.operator.revision import migration_name

DOWN = Problem(reason="ConnectionFailed", message="db:5432 does not answer")
NO_SECRET = Problem(reason="SecretNotFound", message="Secret database does not exist")
EMPTY = Problem(reason="Pending", message="the tables are not there")
BAD_CRON = CronState(problem=Problem(reason="ParseError", message="line 1, column 1"))
DONE = migration()
TICK = Tick(timestamp=NOW, items=())
NEW_IMAGE = spec(image="shop/tasks:2")


def apply(replicas: int, revision: str = REVISION) -> ApplyWorkers:
    return ApplyWorkers(replicas=replicas, revision=revision, fingerprint="f1")


def costs(**each: int) -> MarkDeletionCosts:
    return MarkDeletionCosts(costs=tuple((f"mail-{pod[1:]}", cost) for pod, cost in each.items()))


def unasked(observed: Observed) -> Observed:
    return replace(observed, queue=None)


TABLE: dict[str, tuple[Pool, Observed, Sequence[Action]]] = {
    "a new pool migrates an empty database first": (
        pool(), seen(None, None, schema_problem=EMPTY), [RunMigration(name=MIGRATION)]),
    "while the migration runs nothing starts": (
        pool(), seen(None, queue(5), migration("Running")), []),
    "after the migration workers start in the needed number": (
        pool(), seen(None, queue(25), DONE), [apply(3)]),
    "without jobs the workers' template comes with zero replicas": (
        pool(), seen(None, queue(), DONE), [apply(0)]),
    "a failed migration is left to be read": (
        pool(), seen(None, queue(), migration("Failed", finished_at=NOW)), []),
    "after a minute it is tried again": (
        pool(),
        seen(None, queue(), migration("Failed", finished_at=NOW - timedelta(minutes=1))),
        [DeleteMigration(name=MIGRATION)]),
    "an unreachable database starts nothing": (pool(), seen(None, DOWN), []),
    "an unreachable database holds workers": (pool(), seen(workers(4), DOWN, DONE), []),
    "a missing Secret starts nothing": (pool(), seen(None, None, connection=NO_SECRET), []),
    "a missing Secret leaves workers alone": (
        pool(), unasked(seen(workers(4), queue(), DONE, connection=NO_SECRET)), []),
    "an invalid crontab starts nothing": (pool(), seen(None, queue(5), DONE, cron=BAD_CRON), []),
    "an invalid crontab replaces no worker": (
        pool(NEW_IMAGE), seen(workers(1), queue(5), DONE, cron=BAD_CRON), []),
    "an invalid crontab does not stop scaling": (
        pool(), seen(workers(1), queue(30), DONE, cron=BAD_CRON), [ScaleWorkers(replicas=3)]),
    "a new image migrates before its workers start": (
        pool(NEW_IMAGE), seen(workers(2), queue(20), DONE), [
            RunMigration(name=migration_name(KEY, NEW_IMAGE, "f1"))]),
    "more jobs raise the number": (
        pool(), seen(workers(1), queue(40), DONE), [ScaleWorkers(replicas=4)]),
    "during a rollout the number is not raised": (
        pool(), seen(workers(1, rolling=True), queue(40), DONE), []),
    "another revision is applied at the present number, jobs or not": (
        pool(), seen(workers(2, revision="old"), queue(90), DONE), [apply(2)]),
    "what somebody else changed is taken back": (
        pool(), seen(workers(2, drifted=True), queue(20), DONE), [apply(2)]),
    "an idle pool goes to zero": (
        pool(), seen(workers(2), queue(), DONE), [ScaleWorkers(replicas=0)]),
    "lowering marks the busy pods first": (
        pool(),
        seen(workers(3), queue(0, busy={"mail-1": 2}), DONE),
        [costs(p1=102), ScaleWorkers(replicas=1)]),
    "suspended workers go though jobs wait": (
        pool(spec(suspend=True)), seen(workers(2), queue(90), DONE), [ScaleWorkers(replicas=0)]),
    "suspended workers go though the database is away": (
        pool(spec(suspend=True)), seen(workers(2), DOWN, DONE), [ScaleWorkers(replicas=0)]),
    "a suspended pool has no cron": (
        pool(spec(suspend=True)), seen(workers(0), queue(), DONE, cron=CronState(due=(TICK,))), []),
    "due cron jobs are added": (
        pool(), seen(workers(0), queue(), DONE, cron=CronState(entries=1, due=(TICK,))),
        [EnqueueCron(ticks=(TICK,))]),
    "cron waits for the database": (
        pool(), seen(workers(0), DOWN, DONE, cron=CronState(entries=1, due=(TICK,))), []),
    "old migrations are forgotten after the current one": (
        pool(), seen(workers(0), queue(), DONE, migration(name="mail-migrate-0")),
        [DeleteMigration(name="mail-migrate-0")]),
    "manual follows replicas": (
        pool(replace(scaled(mode="Manual"), replicas=5)), seen(workers(2), queue(), DONE),
        [ScaleWorkers(replicas=5)]),
    "the bounds of scaling replace no worker": (
        pool(scaled(max_replicas=3)), seen(workers(3), queue(90), DONE), []),
}  # fmt: skip


@pytest.mark.parametrize("given, observed, actions", TABLE.values(), ids=TABLE.keys())
def test_actions(given: Pool, observed: Observed, actions: Sequence[Action]) -> None:
    assert list(plan(given, observed, NOW).actions) == list(actions)


def test_costs_that_are_right_already_are_not_written_again() -> None:
    there = workers(3)
    marked = replace(there, pods=tuple(replace(pod, deletion_cost=0) for pod in there.pods))

    actions = plan(pool(), seen(marked, queue(5), DONE), NOW).actions

    assert actions == (ScaleWorkers(replicas=1),)


LEAVING = replace(pool(), deleting_since=NOW - timedelta(seconds=10))


def test_a_deleted_pool_stops_its_workers_and_waits_for_them() -> None:
    stopping = plan(LEAVING, seen(workers(2), DOWN), NOW)
    waiting = plan(LEAVING, seen(workers(2, replicas=0), DOWN), NOW)

    assert (stopping.actions, stopping.drained) == ((ScaleWorkers(replicas=0),), False)
    assert (waiting.actions, waiting.drained) == ((), False)


def test_a_deleted_pool_is_let_go_when_its_workers_are_gone() -> None:
    assert plan(LEAVING, seen(workers(0), None, connection=NO_SECRET), NOW).drained
    assert plan(LEAVING, seen(None, DOWN), NOW).drained


def test_a_deleted_pool_is_let_go_a_minute_after_the_drain_timeout() -> None:
    stuck = seen(workers(2, replicas=0), DOWN)

    assert not plan(LEAVING, stuck, LEAVING_SINCE + timedelta(seconds=359)).drained
    assert plan(LEAVING, stuck, LEAVING_SINCE + timedelta(seconds=360)).drained


LEAVING_SINCE = NOW - timedelta(seconds=10)


def test_the_next_look_comes_when_the_next_job_is_due() -> None:
    soon = queue(next_run_at=NOW + timedelta(seconds=2))

    assert plan(pool(), seen(workers(0), soon, DONE), NOW).again_in == 2.0
    assert plan(pool(), seen(workers(0), queue(), DONE), NOW).again_in == 5.0


def test_the_same_pass_twice_asks_for_the_same() -> None:
    observed = seen(workers(1), queue(40), DONE)

    assert plan(pool(), observed, NOW) == plan(pool(memory=IDLE_LONG), observed, NOW)


@pytest.mark.parametrize("reason", ["SchemaForeign", "SchemaTooNew"])
def test_tables_that_a_migration_cannot_help_are_not_migrated(reason: str) -> None:
    foreign = Problem(reason=reason, message="not ours")

    assert plan(pool(), seen(None, None, schema_problem=foreign), NOW).actions == ()

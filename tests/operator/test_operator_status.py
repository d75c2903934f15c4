"""What is said about a pool."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from operator_words import (
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

from kongtask.operator.model import (
    CronState,
    Observed,
    Pool,
    PoolStatus,
    Problem,
    QueueSummary,
    WorkerPod,
)
from kongtask.operator.plan import plan
from kongtask.operator.status import CONDITIONS, Pass, pool_status, transitions, worth_writing
from kongtask.operator.status_record import status_from_manifest, status_to_manifest

DOWN = Problem(reason="ConnectionFailed", message="db:5432 does not answer")
NO_SECRET = Problem(reason="SecretNotFound", message="Secret database does not exist")
DONE = migration()


def told(given: Pool, observed: Observed, **changes: Any) -> PoolStatus:
    return pool_status(
        Pass(pool=given, observed=observed, plan=plan(given, observed, NOW), now=NOW, **changes)
    )


def pulling() -> Observed:
    problem = Problem(reason="ImagePullError", message="shop/tasks:1: no such image")
    pod = WorkerPod(name="mail-0", ready=False, problem=problem)
    return seen(workers(1, ready=0, pods=(pod,)), queue(5), DONE)


def knowing(*tasks: str, asked: tuple[str, ...] = (), crontab: tuple[str, ...] = ()) -> Observed:
    """One worker that announced tasks, jobs of others that wait, a crontab that names some."""
    there = workers(1, pods=(WorkerPod(name="mail-0", ready=True, revision=REVISION),))
    jobs = queue(0, announced={"mail-0": tasks}, unknown_tasks=asked)
    return seen(there, jobs, DONE, cron=CronState(entries=len(crontab), tasks=crontab))


TABLE: dict[str, tuple[Pool, Observed, str, str, str]] = {
    "all well": (pool(), seen(workers(1), queue(5), DONE), "Ready", "True", "Ready"),
    "scaled to zero is well": (
        pool(), seen(workers(0), queue(), DONE), "WorkersAvailable", "True", "ScaledToZero"),
    "jobs of a task that no worker knows": (
        pool(), knowing("mail", asked=("mial",)), "WorkersAvailable", "True", "UnknownTask"),
    "a crontab of a task that no worker knows": (
        pool(), knowing("mail", crontab=("mial",)), "CrontabValid", "False", "UnknownTask"),
    "a crontab of a task that is known": (
        pool(), knowing("mail", crontab=("mail",)), "CrontabValid", "True", "Parsed"),
    "suspended is well": (
        pool(spec(suspend=True)), seen(workers(0), queue(), DONE), "Ready", "True", "Suspended"),
    "no Secret": (
        pool(), seen(None, None, connection=NO_SECRET),
        "DatabaseReachable", "False", "SecretNotFound"),
    "no Secret shows in Ready": (
        pool(), seen(None, None, connection=NO_SECRET), "Ready", "False", "SecretNotFound"),
    "database away": (
        pool(), seen(workers(2), DOWN, DONE), "DatabaseReachable", "False", "ConnectionFailed"),
    "database away, no signal to scale by": (
        pool(), seen(workers(2), DOWN, DONE), "ScalingActive", "False", "SignalUnknown"),
    "database takes no writes": (
        pool(), seen(workers(2), queue(read_only=True), DONE),
        "DatabaseReachable", "False", "ReadOnly"),
    "migration not begun": (
        pool(), seen(None, queue()), "SchemaMigrated", "False", "Pending"),
    "migration runs": (
        pool(), seen(None, queue(), migration("Running")), "SchemaMigrated", "False", "Running"),
    "migration cannot pull": (
        pool(), seen(None, queue(), migration("Running", reason="ImagePullError")),
        "SchemaMigrated", "False", "ImagePullError"),
    "migration failed": (
        pool(), seen(None, queue(), migration("Failed", message="no rights")),
        "SchemaMigrated", "False", "Failed"),
    "migration done": (
        pool(), seen(None, queue(), DONE), "SchemaMigrated", "True", "Migrated"),
    "bad crontab": (
        pool(),
        seen(workers(0), queue(), DONE,
             cron=CronState(problem=Problem(reason="ParseError", message="line 1"))),
        "CrontabValid", "False", "ParseError"),
    "good crontab": (
        pool(), seen(workers(0), queue(), DONE, cron=CronState(entries=2)),
        "CrontabValid", "True", "Parsed"),
    "workers cannot pull their image": (
        pool(), pulling(), "WorkersAvailable", "False", "ImagePullError"),
    "workers start": (
        pool(), seen(workers(1, ready=0), queue(5), DONE),
        "WorkersAvailable", "False", "Starting"),
    "manual": (
        pool(replace(scaled(mode="Manual"), replicas=2)), seen(workers(2), queue(), DONE),
        "ScalingActive", "False", "Manual"),
    "manual is ready": (
        pool(replace(scaled(mode="Manual"), replicas=2)), seen(workers(2), queue(), DONE),
        "Ready", "True", "Ready"),
    "deleted": (
        replace(pool(), deleting_since=NOW), seen(workers(2), queue(), DONE),
        "Ready", "False", "Deleting"),
}  # fmt: skip


@pytest.mark.parametrize("given, observed, kind, status, reason", TABLE.values(), ids=TABLE.keys())
def test_conditions(given: Pool, observed: Observed, kind: str, status: str, reason: str) -> None:
    condition = told(given, observed).condition(kind)

    assert condition is not None
    assert (condition.status, condition.reason) == (status, reason)


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_all_conditions_are_always_there(row: tuple[Any, ...]) -> None:
    status = told(row[0], row[1])

    assert tuple(each.type for each in status.conditions) == CONDITIONS
    assert all(each.reason and each.message for each in status.conditions)


def test_a_refused_action_shows_in_the_workers() -> None:
    refused = Problem(reason="PodTemplateInvalid", message="limits.cpu: less than requests")

    status = told(pool(), seen(workers(1), queue(5), DONE), refused=refused)

    condition = status.condition("WorkersAvailable")
    assert condition is not None
    assert (condition.reason, condition.message) == (refused.reason, refused.message)


def test_the_time_of_a_condition_changes_only_with_its_status() -> None:
    before = told(pool(), seen(workers(1), queue(5), DONE))
    later = NOW + timedelta(minutes=1)
    given = replace(pool(), status=before)
    observed = seen(workers(1), DOWN, DONE)
    after = pool_status(
        Pass(pool=given, observed=observed, plan=plan(given, observed, later), now=later)
    )

    flipped = {each.type for each in after.conditions if each.since == later}
    assert flipped == {"Ready", "DatabaseReachable", "ScalingActive"}


def test_the_last_counts_stay_while_the_database_is_away() -> None:
    before = told(pool(), seen(workers(1), queue(5), DONE))

    after = told(replace(pool(), status=before), seen(workers(1), DOWN, DONE))

    assert after.queue == before.queue


def test_what_is_written_can_be_read_again() -> None:
    status = told(pool(), seen(workers(2), queue(5), DONE, cron=CronState(entries=1, next_at=NOW)))

    assert status_from_manifest(status_to_manifest(status)) == status


def test_reading_an_empty_status_gives_the_defaults() -> None:
    assert status_from_manifest({}) == PoolStatus()


def test_no_status_shows_the_connection_string() -> None:
    observed = seen(workers(2), queue(5), DONE)

    assert "hunter2" not in repr(observed)
    assert "hunter2" not in str(status_to_manifest(told(pool(), observed)))


def counted(ready: int, running: int = 0, seconds: float = 0) -> PoolStatus:
    moment = NOW + timedelta(seconds=seconds)
    return PoolStatus(
        queue=QueueSummary(
            ready=ready, ready_capped=False, running=running, next_run_at=None, observed_at=moment
        )
    )


@pytest.mark.parametrize(
    "after, expected",
    [
        pytest.param(counted(105, seconds=5), False, id="a small movement is not"),
        pytest.param(counted(130, seconds=5), True, id="more than a fifth is"),
        pytest.param(counted(0, seconds=5), True, id="reaching zero is"),
        pytest.param(counted(100, running=1, seconds=5), True, id="the first running job is"),
        pytest.param(counted(105, seconds=60), True, id="a minute is"),
    ],
)
def test_what_is_worth_writing(after: PoolStatus, expected: bool) -> None:
    assert worth_writing(counted(100), after) is expected


def test_transitions_tell_of_trouble_and_of_its_end_once() -> None:
    well = told(pool(), seen(workers(1), queue(5), DONE))
    ill = told(replace(pool(), status=well), seen(workers(1), DOWN, DONE))
    still = told(replace(pool(), status=ill), seen(workers(1), DOWN, DONE))
    again = told(replace(pool(), status=still), seen(workers(1), queue(5), DONE))

    assert [(each.kind, each.reason) for each in transitions(well, ill)] == [
        ("Warning", "ConnectionFailed")
    ]
    assert transitions(ill, still) == []
    assert [(each.kind, each.reason) for each in transitions(still, again)] == [
        ("Normal", "Connected")
    ]


def test_transitions_tell_of_scaling_with_its_reason() -> None:
    one = told(pool(), seen(workers(1), queue(5), DONE))
    three = told(replace(pool(), status=one), seen(workers(1), queue(25), DONE))

    assert [(each.reason, each.message) for each in transitions(one, three)] == [
        ("ScaledUp", "from 1 to 3 workers: 3 = ceil((25 ready + 0 running) / 10)")
    ]


def test_announced_tasks_are_remembered_until_the_revision_changes() -> None:
    first = told(pool(), knowing("mail"))
    at_zero = told(replace(pool(), status=first), seen(workers(0), queue(), DONE))
    changed = replace(pool(spec(image="shop/tasks:2")), status=first)

    assert first.tasks == at_zero.tasks == ("mail",)
    assert told(changed, seen(workers(0), queue(), DONE)).tasks == ()
    assert status_from_manifest(status_to_manifest(first)).tasks == ("mail",)


def test_a_pool_that_wakes_from_zero_stays_ready_and_a_new_one_is_not_yet() -> None:
    waking = seen(workers(1, ready=0), queue(1), DONE)
    at_rest = told(pool(), seen(workers(0), queue(), DONE))

    first, again = told(pool(), waking), told(replace(pool(), status=at_rest), waking)

    def ready(status: PoolStatus) -> tuple[str, str]:
        found = status.condition("Ready")
        assert found is not None
        return found.status, found.reason

    assert (ready(first), ready(again)) == (("False", "Starting"), ("True", "Ready"))


def test_what_somebody_has_to_mend_comes_before_what_waits_for_it() -> None:
    wrong = CronState(problem=Problem(reason="ParseError", message="crontab line 3, column 1: no"))
    status = told(pool(), seen(None, queue(), cron=wrong))

    found = status.condition("Ready")
    assert found is not None
    assert (found.status, found.reason) == ("False", "ParseError")

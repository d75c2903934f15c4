"""Whole passes over a pool, with a place and a database made of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from operator_words import CONNECTION, NOW, REVISION, migration, pool, queue, spec, workers

from kongtask.clock import Clock
from kongtask.core.cron.crontab import parse_crontab
from kongtask.core.cron.schedule import Tick
from kongtask.errors import StoreUnavailable
from kongtask.operator.cluster import ActionRefused
from kongtask.operator.database import DatabaseState
from kongtask.operator.model import (
    ApplyWorkers,
    ClusterAction,
    ClusterState,
    Connection,
    CronState,
    DeleteMigration,
    EnqueueCron,
    Pool,
    PoolEvent,
    PoolKey,
    PoolStatus,
    Problem,
    RunMigration,
    ScaleWorkers,
)
from kongtask.operator.reconcile import Reconciler, in_words

EMPTY = Problem(reason="Pending", message="the tables are not there")


class HandClock(Clock):
    """A clock whose hands the test moves."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment


@dataclass
class Place:
    """A cluster that does at once what it is told."""

    state: ClusterState = field(default_factory=lambda: ClusterState(connection=CONNECTION))
    refusal: ActionRefused | None = None
    written: list[PoolStatus] = field(default_factory=list)
    told: list[PoolEvent] = field(default_factory=list)

    async def observe(self, _: Pool) -> ClusterState:
        return self.state

    async def execute(self, _: Pool, action: ClusterAction) -> None:
        if self.refusal is not None:
            raise self.refusal
        match action:
            case RunMigration(name=name):
                self.state = replace(self.state, migrations=(migration(name=name),))
            case DeleteMigration():
                self.state = replace(self.state, migrations=())
            case ApplyWorkers(replicas=replicas, revision=revision):
                there = workers(replicas, revision=revision)
                self.state = replace(self.state, workers=there)
            case ScaleWorkers(replicas=replicas):
                self.state = replace(self.state, workers=workers(replicas))

    async def report(self, _: Pool, status: PoolStatus | None, events: Sequence[PoolEvent]) -> None:
        self.written += [] if status is None else [status]
        self.told += events


@dataclass
class Store:
    """A database that says what the test put there."""

    state: DatabaseState = field(default_factory=lambda: DatabaseState(queue=queue()))
    added: list[Tick] = field(default_factory=list)
    away: bool = False

    async def observe(self, _: Pool, connection: Connection | None) -> DatabaseState:
        return self.state if connection is not None else DatabaseState(queue=None)

    async def enqueue(self, _: Pool, __: Connection, ticks: tuple[Tick, ...]) -> None:
        if self.away:
            raise StoreUnavailable("gone")
        self.added += ticks

    async def forget(self, key: PoolKey) -> None:
        return None


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def reconciler(place: Place, store: Store, clock: HandClock) -> Reconciler:
    return Reconciler(cluster=place, database=store, clock=clock)


async def until_quiet(reconciler: Reconciler, given: Pool) -> int:
    """Do passes until one does nothing; return how many did something."""
    for count in range(10):
        if not (await reconciler.reconcile(given)).plan.actions:
            return count
    raise AssertionError("the passes never come to rest")


async def test_a_new_pool_comes_up_step_by_step(
    reconciler: Reconciler, place: Place, store: Store
) -> None:
    store.state = DatabaseState(queue=None, schema_problem=EMPTY)
    first = await reconciler.reconcile(pool())
    store.state = DatabaseState(queue=queue(25))
    await until_quiet(reconciler, pool())

    assert [type(each) for each in first.plan.actions] == [RunMigration]
    assert place.state.workers is not None
    assert (place.state.workers.replicas, place.state.workers.revision) == (3, REVISION)
    assert place.written[-1].condition("Ready") is not None
    assert [each.status for each in place.written[-1].conditions] == ["True"] * 6


async def test_a_burst_is_worked_and_then_there_is_rest(
    reconciler: Reconciler, place: Place, store: Store, clock: HandClock
) -> None:
    store.state = DatabaseState(queue=queue(100))
    await until_quiet(reconciler, pool())
    busiest = place.state.workers and place.state.workers.replicas
    store.state = DatabaseState(queue=queue(0))
    clock.moment += timedelta(seconds=299)
    await until_quiet(reconciler, pool())
    cooling = place.state.workers and place.state.workers.replicas
    clock.moment += timedelta(seconds=301)
    await until_quiet(reconciler, pool())

    assert (busiest, cooling) == (10, 1)
    assert place.state.workers is not None
    assert place.state.workers.replicas == 0
    told = [each.reason for each in place.told if each.reason in ("ScaledUp", "ScaledDown")]
    assert told == ["ScaledUp", "ScaledDown", "ScaledDown"]


async def test_an_unchanged_pool_is_not_written_again(reconciler: Reconciler, place: Place) -> None:
    await until_quiet(reconciler, pool())
    await reconciler.reconcile(pool())
    before = len(place.written)

    await reconciler.reconcile(pool())

    assert len(place.written) == before


async def test_a_refused_change_shows_and_is_tried_again(
    reconciler: Reconciler, place: Place
) -> None:
    await until_quiet(reconciler, pool())
    place.refusal = ActionRefused("cpu: too much", reason="PodTemplateInvalid")
    changed = pool(spec(concurrency=3))

    refused = await reconciler.reconcile(changed)
    place.refusal = None
    await until_quiet(reconciler, changed)

    condition = refused.status.condition("WorkersAvailable")
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", "PodTemplateInvalid")
    assert place.written[-1].condition("WorkersAvailable") != condition


async def test_cron_jobs_that_cannot_be_added_do_not_stop_scaling(
    reconciler: Reconciler, place: Place, store: Store
) -> None:
    await until_quiet(reconciler, pool())
    due = CronState(entries=1, due=(Tick(timestamp=NOW, items=()),))
    store.state, store.away = DatabaseState(queue=queue(30), cron=due), True

    await reconciler.reconcile(pool())
    store.away = False
    await reconciler.reconcile(pool())

    assert place.state.workers is not None
    assert place.state.workers.replicas == 3
    assert store.added == list(due.due)


async def test_a_deleted_pool_drains_without_secret_and_database(
    reconciler: Reconciler, place: Place
) -> None:
    gone = Problem(reason="SecretNotFound", message="Secret database does not exist")
    place.state = ClusterState(connection=gone, workers=workers(2))
    leaving = replace(pool(), deleting_since=NOW)

    first = await reconciler.reconcile(leaving)
    second = await reconciler.reconcile(leaving)

    assert (first.plan.drained, second.plan.drained) == (False, True)


async def test_a_lost_memory_changes_no_decision(
    place: Place, store: Store, clock: HandClock
) -> None:
    store.state = DatabaseState(queue=queue(25))
    await until_quiet(Reconciler(cluster=place, database=store, clock=clock), pool())
    before = place.state

    stored = replace(pool(), status=place.written[-1])
    done = await until_quiet(Reconciler(cluster=place, database=store, clock=clock), stored)

    assert (done, place.state) == (0, before)


def test_the_log_names_moments_and_not_what_their_jobs_carry() -> None:
    [item] = parse_crontab('* * * * * report {"token": "hush"}')
    ticks = tuple(
        Tick(timestamp=NOW + timedelta(minutes=count), items=(item,)) for count in range(100)
    )

    said = in_words(EnqueueCron(ticks=ticks))

    assert said.startswith(f"add the recurring jobs of {NOW:%H:%M} UTC, ")
    assert len(said) < 100

"""The loops that follow pools."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pool_manifests import manifest

from kongtask.clock import Clock
from kongtask.errors import ClusterUnavailable, ConfigurationError
from kongtask.operator.handlers import operator_settings
from kongtask.operator.health import LONGEST_PASS, Progress
from kongtask.operator.model import Plan, Pool, PoolKey, PoolStatus, ScalingDecision
from kongtask.operator.pools import Pools, pool_key
from kongtask.operator.reconcile import Outcome
from kongtask.operator.settings import read_settings

KEY = PoolKey("default", "mail")
IDLE = ScalingDecision(replicas=0, reason="Steady", message="0")


class QuickClock(Clock):
    """A clock that never sleeps and whose time stands still unless the test moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


class Passes:
    """Counts passes; raises what the test wants raised."""

    def __init__(self) -> None:
        self.pools: list[Pool] = []
        self.forgotten: list[PoolKey] = []
        self.failures: list[Exception] = []
        self.drained = False
        self.done = asyncio.Condition()

    async def reconcile(self, given: Pool) -> Outcome:
        self.pools.append(given)
        async with self.done:
            self.done.notify_all()
        if self.failures:
            raise self.failures.pop()
        again = Plan(decision=IDLE, again_in=60, drained=self.drained)
        return Outcome(plan=again, status=PoolStatus())

    async def forget(self, key: PoolKey) -> None:
        self.forgotten.append(key)

    async def reached(self, count: int) -> None:
        async with asyncio.timeout(30), self.done:
            await self.done.wait_for(lambda: len(self.pools) >= count)


def stored(generation: int = 1, **changes: Any) -> dict[str, Any]:
    body = manifest(changes)
    body["metadata"] = {**body["metadata"], "namespace": "default", "generation": generation}
    return body


@pytest.fixture
def passes() -> Passes:
    return Passes()


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def pools(passes: Passes, clock: QuickClock) -> Pools:
    changed: list[PoolKey] = []
    return Pools(
        reconciler=passes,  # type: ignore[arg-type]
        progress=Progress(clock),
        changed=changed.append,
        clock=clock,
    )


async def test_a_pool_is_looked_at_when_it_is_woken(pools: Pools, passes: Passes) -> None:
    pools.saw(KEY, stored())
    following = asyncio.create_task(pools.follow(KEY, lambda: False))
    await passes.reached(1)

    pools.wake(KEY)
    await passes.reached(2)
    pools.saw(KEY, stored(generation=2, concurrency=3))
    await passes.reached(3)

    assert passes.pools[-1].spec.concurrency == 3
    following.cancel()


async def test_its_own_status_does_not_wake_a_pool(pools: Pools, passes: Passes) -> None:
    pools.saw(KEY, stored())
    following = asyncio.create_task(pools.follow(KEY, lambda: False))
    await passes.reached(1)

    pools.saw(KEY, {**stored(), "status": {"replicas": 1}})
    pools.saw(KEY, {**stored(), "status": {"replicas": 2}})
    pools.wake(KEY)
    await passes.reached(2)

    assert len(passes.pools) == 2
    following.cancel()


async def test_a_failed_pass_is_tried_again_later_and_later(
    pools: Pools, passes: Passes, caplog: pytest.LogCaptureFixture
) -> None:
    passes.failures = [ClusterUnavailable("the API is away"), RuntimeError("a fault")]
    pools.saw(KEY, stored())
    following = asyncio.create_task(pools.follow(KEY, lambda: False))
    for count in (1, 2, 3):
        await passes.reached(count)
        pools.wake(KEY)

    assert "the API is away" in caplog.text
    assert not following.done()
    following.cancel()


async def test_following_ends_when_the_pool_is_drained(pools: Pools, passes: Passes) -> None:
    passes.drained = True
    pools.saw(KEY, stored())

    await pools.follow(KEY, lambda: False)

    assert passes.forgotten == [KEY]


async def test_following_ends_when_the_operator_leaves(pools: Pools, passes: Passes) -> None:
    pools.saw(KEY, stored())

    await pools.follow(KEY, lambda: True)

    assert (passes.pools, passes.forgotten) == ([], [])


def test_an_owned_object_names_its_pool() -> None:
    pod = {"metadata": {"namespace": "shop", "name": "x", "labels": {"kongtask.dev/pool": "mail"}}}

    assert pool_key(pod) == PoolKey("shop", "mail")


def test_a_pass_that_hangs_is_noticed(clock: QuickClock) -> None:
    progress = Progress(clock)
    with progress.measured(KEY):
        assert progress.hanging() == []
        clock.seconds += LONGEST_PASS + 1
        assert progress.hanging() == ["default/mail"]
    assert progress.hanging() == []


def test_the_operators_settings_keep_watches_alive() -> None:
    settings = operator_settings()

    assert settings.watching.server_timeout == 300
    assert settings.persistence.finalizer == "kongtask.dev/drain"
    assert settings.posting.enabled is False


@pytest.mark.parametrize(
    "environment, sentence",
    [
        pytest.param(
            {"KONGTASK_LOG_LEVEL": "loud"}, "KONGTASK_LOG_LEVEL is LOUD: write", id="level"
        ),
        pytest.param({"KONGTASK_OPERATOR_PORT": "web"}, "KONGTASK_OPERATOR_PORT is web", id="port"),
    ],
)
def test_a_wrong_environment_is_refused(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        read_settings(environment)


def test_an_empty_environment_watches_all_namespaces() -> None:
    assert read_settings({}).namespaces == ()

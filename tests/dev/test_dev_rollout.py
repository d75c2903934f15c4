"""Which workers start and stop."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongtask.dev.rollout import SURGE, Present, Steps, Wanted, next_steps


def there(name: str, revision: str = "b", *, ready: bool = True, cost: int = 0) -> Present:
    """A worker whose name ends with its number."""
    return Present(name=name, revision=revision, number=int(name[1:]), ready=ready, cost=cost)


@pytest.mark.parametrize(
    "replicas, present, expected",
    [
        pytest.param(2, [], Steps(start=2), id="none yet"),
        pytest.param(1, [there("w1")], Steps(), id="as wanted"),
        pytest.param(0, [there("w1"), there("w2")], Steps(stop=("w2", "w1")), id="none wanted"),
        pytest.param(
            1, [there("w1"), there("w2", cost=101)], Steps(stop=("w1",)), id="idle ones go first"
        ),
        pytest.param(
            1, [there("w1"), there("w2")], Steps(stop=("w2",)), id="then those that came last"
        ),
        pytest.param(
            1, [there("w1", ready=False, cost=5), there("w2")], Steps(stop=("w1",)),
            id="one that is not ready goes before all"),
        pytest.param(
            2, [there("w1", "a"), there("w2", "a")], Steps(start=1), id="a new one comes first"),
        pytest.param(
            2, [there("w1", "a"), there("w2", "a"), there("w3", ready=False)], Steps(),
            id="the old ones stay until the new one is ready"),
        pytest.param(
            2, [there("w1", "a", cost=101), there("w2", "a"), there("w3")], Steps(stop=("w2",)),
            id="an idle old one goes for it"),
        pytest.param(
            1, [there("w1", "a", ready=False)], Steps(start=1, stop=("w1",)),
            id="an old one that does not work goes at once"),
        pytest.param(
            0, [there("w1", "a")], Steps(stop=("w1",)), id="old ones go too when none is wanted"),
    ],
)  # fmt: skip
def test_the_next_steps(replicas: int, present: list[Present], expected: Steps) -> None:
    assert next_steps(Wanted(revision="b", replicas=replicas), present) == expected


@given(old=st.integers(0, 6), replicas=st.integers(0, 6), working=st.booleans())
def test_a_replacement_ends_with_the_wanted_workers_and_never_has_too_few(
    old: int, replicas: int, working: bool
) -> None:
    wanted = Wanted(revision="b", replicas=replicas)
    workers = [there(f"w{n}", "a") for n in range(1, old + 1)]
    enough = min(old, replicas)
    for _ in range(30):
        steps = next_steps(wanted, workers)
        workers = [each for each in workers if each.name not in steps.stop]
        count = max((each.number for each in workers), default=0)
        workers += [there(f"w{count + n + 1}", ready=False) for n in range(steps.start)]
        assert sum(each.ready for each in workers) >= enough
        assert len(workers) <= max(old, replicas + SURGE)
        workers = [replace(each, ready=each.ready or working) for each in workers]
    if working:
        assert [each.revision for each in workers] == ["b"] * replicas
        assert next_steps(wanted, workers) == Steps()

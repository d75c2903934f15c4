"""How many jobs to fetch follows from how fast they have been finishing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongtask.core.pacing import MOST_AHEAD, Pace, fetch_size, look_ahead, observed


def test_the_look_ahead_grows_with_the_pace_and_forgets_it() -> None:
    pace, found = Pace(), []
    for finished, at in [(100, 0.1), (1000, 1.0), (0, 1.5), (0, 3.0)]:
        pace = observed(pace, finished, at)
        found.append(look_ahead(pace))
    assert found == [78, 220, 18, 0]


@pytest.mark.parametrize("now", [1.0, 0.5], ids=["stands still", "goes back"])
def test_a_clock_without_progress_changes_no_pace(now: float) -> None:
    pace = Pace(rate=5.0, at=1.0)
    assert observed(pace, 100, now) is pace


@pytest.mark.parametrize(
    "running, waiting, ahead, wanted",
    [(0, 0, 0, 10), (10, 0, 0, 0), (9, 0, 0, 1), (0, 10, 0, 0), (10, 0, 100, 100),
     (10, 60, 100, 0), (10, 59, 100, 41), (9, 0, 100, 101), (10, 10, 0, 0)],
)  # fmt: skip
def test_a_statement_is_worth_it_for_an_idle_worker_or_many_jobs(
    running: int, waiting: int, ahead: int, wanted: int
) -> None:
    found = fetch_size(concurrency=10, running=running, waiting=waiting, ahead=ahead)
    assert found == wanted


@given(
    concurrency=st.integers(1, 10_000),
    running=st.integers(0, 10_000),
    waiting=st.integers(0, 1000),
    rate=st.floats(0, 1e9),
)
def test_nothing_is_fetched_beyond_the_room_and_every_idle_worker_is_served(
    concurrency: int, running: int, waiting: int, rate: float
) -> None:
    running = min(running, concurrency)
    ahead = look_ahead(Pace(rate=rate))
    wanted = fetch_size(concurrency=concurrency, running=running, waiting=waiting, ahead=ahead)
    assert 0 <= wanted <= concurrency + MOST_AHEAD
    assert running + waiting + wanted <= max(concurrency + ahead, running + waiting)
    if running + waiting < concurrency:
        assert running + waiting + wanted >= concurrency

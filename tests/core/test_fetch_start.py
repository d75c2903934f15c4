"""Fetches begin at the front, unless a walk over dead rows makes that slow."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from kongtask.core.fetch_start import (
    EACH,
    LONGEST_REST,
    SHORTEST_REST,
    TRIAL_REST,
    FetchStart,
    Place,
)

FIRST: Place = (0, datetime(2026, 3, 4, 12, 0, tzinfo=UTC))
PAUSE = 0.05


@dataclass
class Fetches:
    """Fetches one after the other, as long as the table makes them."""

    front: float = 0.001
    further: float = 0.001
    now: float = 1000.0
    start: FetchStart = field(default_factory=FetchStart)

    def one(self, jobs: int = 1, *, is_full: bool = False) -> bool:
        """Return whether a fetch began at the front."""
        self.now += PAUSE
        begun, place = self.now, self.start.place(self.now)
        self.now += (self.front if place is None else self.further) + EACH * jobs
        self.start.saw(
            place, jobs, FIRST if jobs else None, begun=begun, ended=self.now, is_full=is_full
        )
        return place is None

    def fronts(self, seconds: float) -> tuple[int, int]:
        """Return how many fetches began at the front, and how many did not."""
        until, found = self.now + seconds, []
        while self.now < until:
            found.append(self.one())
        return sum(found), len(found) - sum(found)


def test_fetches_begin_at_the_front() -> None:
    fetches = Fetches()
    assert fetches.fronts(60)[1] == 0
    assert fetches.start.front_due is None


def test_many_jobs_may_take_long() -> None:
    fetches = Fetches()
    assert [fetches.one(1000, is_full=True) for _ in range(9)] == [True] * 9


def test_one_fetch_that_took_long_by_chance_changes_nothing() -> None:
    fetches = Fetches()
    for _ in range(9):
        fetches.front = 0.1
        assert fetches.one()
        fetches.front = 0.001
        assert fetches.one()


def test_where_everything_is_slow_one_fetch_a_second_tries() -> None:
    fetches = Fetches(front=0.03, further=0.03)
    _, trials = fetches.fronts(60)
    assert 60 / (TRIAL_REST + 4 * PAUSE) <= trials <= 60 / TRIAL_REST


def test_a_trial_that_found_no_more_is_followed_by_a_look_at_the_front() -> None:
    fetches = Fetches(front=0.03, further=0.03)
    assert fetches.one()
    assert fetches.one()
    assert not fetches.one(0)
    assert fetches.start.front_due == fetches.now
    assert fetches.one(0)
    assert fetches.start.front_due is None


def test_nobody_tries_where_nothing_is_found() -> None:
    fetches = Fetches()
    fetches.one()
    fetches.front = 0.03
    assert [fetches.one(0) for _ in range(9)] == [True] * 9


def test_a_walk_lets_the_front_rest_most_of_the_time() -> None:
    for walk, rest in [(0.003, SHORTEST_REST), (0.03, 1.5), (0.3, LONGEST_REST)]:
        fetches = Fetches(front=0.001 + walk)
        fronts, further = fetches.fronts(60)
        assert 60 / (rest + 3 * PAUSE + walk) - 1 <= fronts <= 60 / rest + 1
        assert further > 4 * fronts


def test_jobs_that_were_passed_are_looked_for_at_the_end_of_the_rest() -> None:
    fetches = Fetches(front=0.3)
    assert fetches.one()
    assert fetches.one()
    ended = fetches.now
    assert not fetches.one(5, is_full=True)
    assert fetches.start.front_due is None
    assert not fetches.one(0)
    assert fetches.start.front_due is not None
    assert ended < fetches.start.front_due <= fetches.now + LONGEST_REST
    fetches.now = fetches.start.front_due
    assert fetches.one(0)
    assert fetches.start.front_due is None


def test_who_hurries_begins_at_the_front() -> None:
    fetches = Fetches(front=0.3)
    assert fetches.one()
    assert fetches.one()
    assert not fetches.one()
    fetches.start.hurry()
    assert fetches.one()


def test_when_the_dead_rows_are_gone_fetches_begin_at_the_front_again() -> None:
    fetches = Fetches(front=0.3)
    fetches.fronts(20)
    fetches.front = 0.001
    fetches.fronts(LONGEST_REST)
    assert fetches.fronts(20)[1] == 0

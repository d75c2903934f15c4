"""Fetches begin at the front, unless a walk over dead rows makes that slow."""

from __future__ import annotations

from collections import UserList
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

from kongtask.core.fetch_start import (
    BACK,
    BACK_REST,
    EACH,
    FIRST_PRIORITY,
    FRONT,
    LAST_PRIORITY,
    LONGEST_NARROW_REST,
    LONGEST_REST,
    MOST_PRIORITIES,
    SHORTEST_REST,
    TRIAL_REST,
    FetchStart,
    Range,
    firsts,
)
from kongtask.core.job import Job

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
PAUSE = 0.05
Begin: TypeAlias = Literal["front", "back", "further", "narrow"]


def job(priority: int = 0, run_at: datetime = NOON) -> Job:
    return Job(
        id=1, task_identifier="work", run_at=run_at, created_at=NOON, updated_at=NOON,
        priority=priority,
    )  # fmt: skip


@dataclass
class Fetches:
    """Fetches one after the other, as long as the table makes them."""

    front: float = 0.001
    further: float = 0.001
    narrow: float = 0.001
    each: float = EACH
    now: float = 1000.0
    start: FetchStart = field(default_factory=FetchStart)
    ranges: Sequence[Range] = FRONT

    def one(self, jobs: int | Sequence[Job] = 1, *, is_full: bool = False) -> Begin:
        """Return where a fetch began."""
        found = [job()] * jobs if isinstance(jobs, int) else jobs
        self.now += PAUSE
        begun = self.now
        self.ranges = self.start.ranges(begun)
        where = self._where()
        took = {"front": self.front, "narrow": self.narrow}.get(where, self.further)
        self.now += took + self.each * len(found)
        self.start.saw(found, begun=begun, ended=self.now, is_full=is_full)
        return where

    def _where(self) -> Begin:
        if self.ranges is FRONT:
            return "front"
        if self.ranges[0].first != FIRST_PRIORITY:
            return "narrow"
        return "back" if self.ranges[1].since == NOON - BACK else "further"

    def during(self, seconds: float) -> list[Begin]:
        """Return where the fetches of so many seconds began."""
        until, found = self.now + seconds, []
        while self.now < until:
            found.append(self.one())
        return found

    def passing(self, jobs: int | Sequence[Job] = 1) -> None:
        """Let fetches begin further on, as if the front was slow."""
        self.front = 0.3
        assert [self.one(jobs), self.one(jobs), self.one(jobs)] == ["front", "front", "further"]


def test_fetches_begin_at_the_front() -> None:
    fetches = Fetches()
    assert set(fetches.during(60)) == {"front"}
    assert fetches.start.next_look is None


def test_many_jobs_may_take_long() -> None:
    fetches = Fetches()
    assert [fetches.one(1000, is_full=True) for _ in range(9)] == ["front"] * 9


def test_a_walk_does_not_hide_behind_what_many_jobs_may_take() -> None:
    fetches = Fetches(each=EACH / 3)
    assert [fetches.one(1000, is_full=True) for _ in range(9)] == ["front"] * 9
    fetches.front = 0.02
    assert fetches.front + 1000 * fetches.each < 1000 * EACH
    begun = [fetches.one(1000, is_full=True) for _ in range(40)]
    assert begun[:3] == ["front", "front", "further"]
    assert begun.count("front") == 2


def test_a_machine_that_becomes_slower_is_learned_again() -> None:
    fetches = Fetches(each=EACH / 4)
    assert [fetches.one(1000) for _ in range(9)] == ["front"] * 9
    fetches.each = EACH / 2
    begun = [fetches.one(1000) for _ in range(400)]
    assert 0 < begun[:200].count("further") < 20
    assert begun[300:] == ["front"] * 100


def test_one_fetch_that_took_long_by_chance_changes_nothing() -> None:
    fetches = Fetches()
    for _ in range(9):
        fetches.front = 0.1
        assert fetches.one() == "front"
        fetches.front = 0.001
        assert fetches.one() == "front"


def test_where_everything_is_slow_one_fetch_a_second_tries() -> None:
    fetches = Fetches(front=0.03, further=0.03, narrow=0.03)
    begun = fetches.during(60)
    trials = len(begun) - begun.count("front")
    assert 60 / (TRIAL_REST + 4 * PAUSE) <= trials <= 60 / TRIAL_REST
    assert begun.count("narrow") in range(trials // 2, trials // 2 + 2)


def test_a_trial_that_found_no_more_is_followed_by_a_look_at_the_front() -> None:
    fetches = Fetches(front=0.03, further=0.03)
    assert [fetches.one(), fetches.one(), fetches.one(0)] == ["front", "front", "further"]
    assert fetches.start.next_look is not None
    assert fetches.start.next_look <= fetches.now
    assert fetches.one(0) == "front"
    assert fetches.start.next_look is None


def test_nobody_tries_where_nothing_is_found() -> None:
    fetches = Fetches()
    fetches.one()
    fetches.front = 0.03
    assert [fetches.one(0) for _ in range(9)] == ["front"] * 9


def test_a_walk_lets_the_front_rest_most_of_the_time() -> None:
    for walk, rest in [(0.0022, SHORTEST_REST), (0.03, 6.0), (0.3, LONGEST_REST)]:
        fetches = Fetches(front=0.001 + walk)
        begun = fetches.during(120)
        assert 120 / (rest + 3 * PAUSE + walk) - 1 <= begun.count("front") <= 120 / rest + 1
        assert begun.count("further") > 3 * begun.count("front")


def test_one_fetch_a_second_begins_some_way_back() -> None:
    fetches = Fetches()
    fetches.passing()
    begun = fetches.during(LONGEST_REST - 1)
    assert set(begun) == {"back", "further"}
    assert len(begun) * PAUSE / BACK_REST / 2 < begun.count("back") <= LONGEST_REST / BACK_REST


def test_each_priority_begins_where_its_jobs_were_found_last() -> None:
    fetches, later = Fetches(), NOON + timedelta(minutes=1)
    fetches.passing([job(-3), job(-3, later), job(7, later)])
    assert [fetches.one([]), fetches.one([])] == ["back", "further"]
    assert fetches.ranges == [
        (FIRST_PRIORITY, None, -4), (-3, NOON, 6), (7, later, LAST_PRIORITY),
    ]  # fmt: skip


def test_every_priority_is_looked_through_somehow() -> None:
    for known in ([-32768], [32767], [-32768, 32767], [5, 6, -1, 0], [-32767, 3]):
        fetches = Fetches()
        fetches.passing([job(each) for each in known if each != FIRST_PRIORITY] or [job()])
        if FIRST_PRIORITY in known:
            fetches.start.saw([job(FIRST_PRIORITY)], begun=0, ended=0, is_full=False)
        ranges = fetches.start.ranges(fetches.now)
        assert ranges[0].first == FIRST_PRIORITY
        assert ranges[-1].last == LAST_PRIORITY
        assert all(each.first <= each.last for each in ranges)
        following = [each.first for each in ranges[1:]]
        assert following == [each.last + 1 for each in ranges[:-1]]


def test_too_many_priorities_are_found_anew() -> None:
    fetches = Fetches()
    fetches.passing([job(each) for each in range(MOST_PRIORITIES)])
    assert [fetches.one([]), fetches.one([job(-1)])] == ["back", "further"]
    assert fetches.one() == "front"


def test_dead_jobs_of_earlier_priorities_are_left_out() -> None:
    """Such as another pool runs, for tasks that this one does not have."""
    fetches = Fetches(front=0.03, further=0.03)
    begun = fetches.during(60)
    assert begun.count("narrow") > len(begun) * 0.9
    assert begun.count("front") >= 60 / (LONGEST_NARROW_REST + 1)
    fetches = Fetches(front=0.3, further=0.02)
    begun = fetches.during(60)
    assert begun.count("narrow") > len(begun) / 3


def test_jobs_that_were_passed_are_looked_for_at_the_end_of_the_rest() -> None:
    fetches = Fetches()
    fetches.passing()
    ended = fetches.now
    assert fetches.one(0) == "back"
    assert fetches.start.next_look is not None
    assert ended < fetches.start.next_look <= ended + LONGEST_REST
    assert fetches.one(5, is_full=True) == "further"
    assert fetches.start.next_look is None
    assert fetches.one(0) == "further"
    assert fetches.start.next_look is not None
    assert fetches.now < fetches.start.next_look <= fetches.now + BACK_REST
    fetches.now = fetches.start.next_look
    assert fetches.one(0) == "back"
    fetches.now = fetches.start.next_look or 0.0
    assert fetches.one(0) == "front"
    assert fetches.start.next_look is None


def test_who_hurries_begins_at_the_front() -> None:
    fetches = Fetches()
    fetches.passing()
    fetches.start.hurry()
    assert fetches.one() == "front"


def test_when_the_dead_rows_are_gone_fetches_begin_at_the_front_again() -> None:
    fetches = Fetches(front=0.3)
    fetches.during(20)
    fetches.front = 0.001
    fetches.during(LONGEST_REST)
    assert set(fetches.during(20)) == {"front"}


class Asked(UserList[Job]):
    """Jobs of which it is known how often one was looked at."""

    times = 0

    def __getitem__(self, at: Any) -> Any:
        self.times += 1
        return super().__getitem__(at)


def test_few_jobs_are_looked_at_to_know_the_first_of_each_priority() -> None:
    """Each of them is a row that nobody has read yet."""
    jobs = Asked(
        job(priority, NOON + timedelta(seconds=n))
        for priority, count in [(-3, 1), (0, 1500), (7, 2), (8, 500)]
        for n in range(count)
    )
    assert [(each.priority, each.run_at) for each in firsts(jobs)] == [
        (-3, NOON), (0, NOON), (7, NOON), (8, NOON),
    ]  # fmt: skip
    assert jobs.times < 60
    assert list(firsts([])) == []

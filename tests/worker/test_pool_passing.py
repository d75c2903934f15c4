"""Where the front of the table is slow, fetches pass it by, and no job is forgotten there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until
from worker_words import is_empty, options

from kongtask import Helpers, TaskSpec, WorkerUtils, run_task_list, run_task_list_once
from kongtask.clock import Clock
from kongtask.core import fetch_start
from kongtask.core.fetch_start import FRONT, Range
from kongtask.core.job import Job
from kongtask.postgres.jobs import JobStore

Pool: TypeAlias = "asyncpg.Pool[Any]"
EARLY = TaskSpec(priority=-1)
OVERDUE = TaskSpec(run_at=datetime(2026, 1, 1, tzinfo=UTC))


class SteppedClock(Clock):
    """The machine's clock, by which what happens within `taking` takes just so long."""

    _ahead = 0.0
    _stopped: float | None = None

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead if self._stopped is None else self._stopped

    @contextmanager
    def taking(self, seconds: float) -> Iterator[None]:
        self._stopped = self.monotonic()
        try:
            yield
        finally:
            self._ahead = self._stopped + seconds - super().monotonic()
            self._stopped = None


class SlowFront:
    """Fetches from the front that seem to take a quarter of a second, and others no time."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.clock = SteppedClock()
        self.passed = 0
        self._real = JobStore.fetch

        async def fetch(
            store: JobStore, *given: Any, ranges: Sequence[Range] = FRONT, **named: Any
        ) -> list[Job]:
            self.passed += ranges is not FRONT
            with self.clock.taking(0.25 if ranges is FRONT else 0.0):
                return await self._real(store, *given, ranges=ranges, **named)

        patch.setattr(JobStore, "fetch", fetch)


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> SlowFront:
    return SlowFront(monkeypatch)


async def test_a_job_of_an_earlier_priority_is_found_at_once(pool: Pool, front: SlowFront) -> None:
    await run_one_after_the_other(pool, front, EARLY)
    assert front.passed > 20


async def test_a_job_that_was_due_earlier_than_others_needs_no_poll(
    pool: Pool, front: SlowFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_start, "LONGEST_REST", 0.3)
    await run_one_after_the_other(pool, front, OVERDUE)
    assert front.passed > 10


async def run_one_after_the_other(pool: Pool, front: SlowFront, spec: TaskSpec) -> None:
    done: list[object] = []

    def work(payload: object, _: object) -> None:
        done.append(payload)

    utils = WorkerUtils(pool)
    chosen = options(poll_interval=timedelta(hours=1), clock=front.clock)
    async with await run_task_list({"work": work}, pool, chosen):
        for number in range(30):
            await utils.add_job("work", number, spec if number > 9 else None)
            await until(lambda: len(done) == number + 1)  # noqa: B023


async def test_a_run_that_ends_by_itself_leaves_no_job_behind(pool: Pool, front: SlowFront) -> None:
    utils = WorkerUtils(pool)
    order: list[object] = []

    async def work(payload: object, helpers: Helpers) -> None:
        order.append(payload)
        if payload == 9:
            await helpers.add_job("work", "overdue", OVERDUE)
            await helpers.add_job("work", "early", EARLY)

    await utils.add_jobs([("work", number, None) for number in range(20)])
    await run_task_list_once({"work": work}, pool, options(concurrency=1, clock=front.clock))
    assert await is_empty(pool)
    assert order == [*range(10), "early", *range(10, 20), "overdue"]
    assert front.passed > 10

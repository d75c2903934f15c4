"""What the workers of a pool record of their runs, and what is asked of them for each turn."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from waiting import until
from worker_words import options

from kongtask.clock import Clock
from kongtask.core.attempt import RELEASED, SUCCESS, Outcome
from kongtask.core.control import SnoozeJob
from kongtask.core.job import Job
from kongtask.logger import StandardLogger
from kongtask.tracing import Tracing
from kongtask.worker.crew import JOBS_A_TURN, Crew
from kongtask.worker.executor import Executor
from kongtask.worker.run import Run

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Records:
    """In the place of what writes outcomes: keeps the runs."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.forfeited: list[Run] = []

    def record(self, run: Run) -> None:
        self.runs.append(run)

    def forfeit(self, run: Run) -> None:
        self.forfeited.append(run)

    def outcomes(self) -> dict[int, Outcome]:
        return {run.job.id: run.outcome for run in self.runs}


def job(number: int, queue: str | None = None, *, attempts: int = 0) -> Job:
    return Job(
        id=number, task_identifier="task", queue_name=queue, attempts=attempts,
        run_at=LONG_AGO, created_at=LONG_AGO, updated_at=LONG_AGO,
    )  # fmt: skip


def crew_of(handler: Any, records: Records, tracing: Tracing | None = None) -> Crew:
    nothing: Any = None
    executor = Executor(
        {"task": handler}, pool=nothing, queue=nothing, logger=StandardLogger(),
        tracing=tracing or Tracing(), clock=Clock(), concurrency=1,
    )  # fmt: skip
    recorder: Any = records
    return Crew(
        worker_ids=["worker-1"], executor=executor, recorder=recorder, options=options(),
        on_room=lambda: None,
    )  # fmt: skip


async def test_what_a_handler_says_after_it_was_cut_off_changes_nothing_that_was_recorded() -> None:
    records, go, has_failed = Records(), asyncio.Event(), asyncio.Event()

    async def deaf(payload: object, helpers: object) -> None:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        has_failed.set()
        raise ValueError("too late")

    crew = crew_of(deaf, records)
    crew.add([job(1)])
    await until(lambda: crew.running)
    await crew.cut_off(lambda _: RELEASED, patience=0.01)
    [task] = [run.task for run in records.runs]
    go.set()
    await has_failed.wait()
    assert task is not None
    await asyncio.wait([task])
    assert records.outcomes() == {1: RELEASED}


async def test_jobs_that_never_began_are_recorded_as_given_back_with_their_whole_line() -> None:
    records, go = Records(), asyncio.Event()

    async def wait(payload: object, helpers: object) -> None:
        await go.wait()

    crew = crew_of(wait, records)
    crew.add([job(1), job(2, "line"), job(3, "line"), job(4)])
    await until(lambda: crew.running)
    assert (crew.waiting, sorted(crew.held)) == (3, [1, 2, 3, 4])
    crew.give_back_waiting()
    assert records.outcomes() == {2: RELEASED, 3: RELEASED, 4: RELEASED}
    go.set()
    await until(lambda: not crew.is_busy)
    assert records.outcomes()[1] is SUCCESS


async def test_a_job_that_is_fetched_again_while_it_waits_runs_once_as_it_stands_now() -> None:
    """Others had freed it: two runs of it might go on at once."""
    records, go = Records(), asyncio.Event()
    ran: list[tuple[int, int]] = []

    async def wait(payload: object, helpers: Any) -> None:
        ran.append((helpers.job.id, helpers.job.attempts))
        await go.wait()

    crew = crew_of(wait, records)
    crew.add([job(1), job(2), job(3, "line"), job(4, "line"), job(5, "line")])
    await until(lambda: crew.running)
    crew.add([job(2, attempts=1), job(3, "line", attempts=1), job(4, attempts=1)])
    crew.add([job(5, "line", attempts=1), job(6)])
    assert (crew.waiting, sorted(crew.held)) == (5, [1, 2, 3, 4, 5, 6])
    go.set()
    await until(lambda: not crew.is_busy)
    assert sorted(ran) == [(1, 0), (2, 1), (3, 1), (4, 1), (5, 1), (6, 0)]
    assert ran.index((3, 1)) < ran.index((5, 1))
    assert sorted(records.outcomes()) == [1, 2, 3, 4, 5, 6]
    assert (crew.waiting, crew.held) == (0, [])


async def test_a_job_that_was_lost_while_it_waited_is_told_although_it_runs_by_now() -> None:
    records, has_ended = Records(), asyncio.Event()

    async def wait(payload: object, helpers: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            has_ended.set()

    crew = crew_of(wait, records)
    clock = Clock()
    crew.add([job(1)])
    asked_at = clock.monotonic()  # whether it is lost, which will be answered when it runs
    await until(lambda: crew.running)
    [run] = crew.runs
    assert run.fetched_at <= asked_at <= run.at
    crew.lost({1}, asked_at)
    await until(has_ended.is_set)
    await until(lambda: not crew.is_busy)
    assert run in records.forfeited


async def test_a_job_that_was_fetched_after_the_question_is_not_lost() -> None:
    records, go = Records(), asyncio.Event()

    async def wait(payload: object, helpers: Any) -> None:
        await go.wait()

    crew = crew_of(wait, records)
    asked_at = Clock().monotonic()
    crew.add([job(1), job(2)])
    await until(lambda: crew.running)
    crew.lost({1, 2}, asked_at)
    go.set()
    await until(lambda: not crew.is_busy)
    assert records.outcomes() == {1: SUCCESS, 2: SUCCESS}


class Timeless(SnoozeJob):
    def __init__(self) -> None:
        pass


async def test_a_snooze_without_a_time_is_a_failure_like_any_other() -> None:
    records = Records()

    async def snooze(payload: object, helpers: object) -> None:
        raise Timeless

    crew = crew_of(snooze, records)
    crew.add([job(1), job(2)])
    await until(lambda: len(records.runs) == 2 and not crew.is_busy)
    for outcome in records.outcomes().values():
        assert outcome.kind == "retry"
        assert "must call super().__init__(when)" in outcome.message


class Broken(Tracing):
    """Tracing that raises, which it never should."""

    @property
    def is_on(self) -> bool:
        return True

    def processing(self, *arguments: object, **options: object) -> Any:
        raise KeyError("span")


async def test_no_job_stays_behind_for_an_error_around_its_handler() -> None:
    records = Records()

    async def nothing(payload: object, helpers: object) -> None:
        return None

    crew = crew_of(nothing, records, Broken())
    crew.add([job(1), job(2, "line"), job(3, "line")])
    await until(lambda: len(records.runs) == 3 and not crew.is_busy)
    assert {outcome.kind for outcome in records.outcomes().values()} == {"retry"}


class Switch(Tracing):
    """Tracing that counts how often it is asked whether it is on, and is not."""

    asked = 0

    @property
    def is_on(self) -> bool:
        self.asked += 1
        return False


async def test_whether_spans_are_made_is_asked_each_turn() -> None:
    """Who sets a provider late has spans from the next turn on; no job pays for the question."""
    records, tracing = Records(), Switch()

    async def nothing(payload: object, helpers: object) -> None:
        return None

    crew = crew_of(nothing, records, tracing)
    crew.add([job(number) for number in range(4 * JOBS_A_TURN)])
    await until(lambda: len(records.runs) == 4 * JOBS_A_TURN)
    assert 4 <= tracing.asked < JOBS_A_TURN

"""Many jobs that were fetched are read while the next fetch is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until
from worker_words import add, assert_nothing_left, locked, options, rows

from kongtask import run_task_list
from kongtask.core.job import Job
from kongtask.postgres.jobs import JobStore
from kongtask.postgres.records import FetchedJobs
from kongtask.worker import dispatcher

Pool: TypeAlias = "asyncpg.Pool[Any]"
AHEAD = 500
FEW = dispatcher.MANY // 2


@pytest.fixture(autouse=True)
def far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "look_ahead", lambda _: AHEAD)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What was asked for, what arrived and what was read, in order."""
    seen: list[tuple[str, int]] = []
    fetch, read = JobStore.fetch, FetchedJobs.__iter__

    async def watched(store: JobStore, limit: int, *more: Any, **options: Any) -> FetchedJobs:
        seen.append(("asked", limit))
        found = await fetch(store, limit, *more, **options)
        seen.append(("arrived", len(found)))
        return found

    def reading(jobs: FetchedJobs) -> Iterator[Job]:
        seen.append(("read", len(jobs)))
        return read(jobs)

    monkeypatch.setattr(JobStore, "fetch", watched)
    monkeypatch.setattr(FetchedJobs, "__iter__", reading)
    return seen


OnArrival = Callable[[Callable[[FetchedJobs], None]], None]


@pytest.fixture
def on_arrival(monkeypatch: pytest.MonkeyPatch) -> OnArrival:
    """Call something with what each fetch brings, before the dispatcher hears of it."""
    fetch = JobStore.fetch

    def arrange(call: Callable[[FetchedJobs], None]) -> None:
        async def fetched(store: JobStore, *arguments: Any, **options: Any) -> FetchedJobs:
            found = await fetch(store, *arguments, **options)
            call(found)
            return found

        monkeypatch.setattr(JobStore, "fetch", fetched)

    return arrange


async def nothing(_payload: Any, _helpers: Any) -> None:
    pass


async def test_the_next_fetch_is_sent_before_many_jobs_are_read(
    pool: Pool, seen: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "fetch_size", lambda **_: AHEAD)  # there is always room
    ran: list[int] = []
    await add(pool, "note", range(3000))
    async with await run_task_list({"note": lambda n, _: ran.append(n)}, pool, options()):
        await until(lambda: len(ran) == 3000)
    order = [what for what, _ in seen]
    assert order[:5] == ["asked", "arrived", "asked", "read", "arrived"]
    await assert_nothing_left(pool)


async def test_few_jobs_are_read_at_once(
    pool: Pool, seen: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "fetch_size", lambda **_: FEW)
    await add(pool, "nothing", range(4 * FEW))
    async with await run_task_list({"nothing": nothing}, pool, options()):
        await until(lambda: ("arrived", 0) in seen)
    followed = [seen[at + 1] for at, each in enumerate(seen) if each == ("arrived", FEW)]
    assert followed == [("read", FEW)] * 4


async def test_jobs_that_were_not_read_yet_are_given_back_before_the_others_have_ended(
    pool: Pool, on_arrival: OnArrival
) -> None:
    go = asyncio.Event()

    def end(found: FetchedJobs) -> None:
        if len(found) >= dispatcher.MANY:
            workers.stop("enough")

    async def hold(_payload: Any, _helpers: Any) -> None:
        await go.wait()

    on_arrival(end)
    tasks = {"nothing": nothing, "hold": hold}
    workers = await run_task_list(tasks, pool, options(concurrency=1))
    await add(pool, "hold", [0])
    await until(lambda: workers.running)
    await add(pool, "nothing", range(2 * AHEAD))

    async def are_free() -> bool:
        return workers.is_stopping and await locked(pool) == 1

    await until(are_free)
    assert len(workers.running) == 1
    go.set()
    await workers.wait()
    assert {row["attempts"] for row in await rows(pool)} == {0}
    assert len(await rows(pool)) == 2 * AHEAD


async def test_a_job_that_is_cancelled_before_it_was_read_does_not_run(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, on_arrival: OnArrival
) -> None:
    monkeypatch.setattr(dispatcher, "fetch_size", lambda **_: AHEAD)
    ran: list[int] = []
    cancelled = set[int]()

    def cancel_last(found: FetchedJobs) -> None:
        if len(found) >= dispatcher.MANY:
            one = found[-1]
            cancelled.add(one.payload)
            loop = asyncio.get_running_loop()  # before the jobs are handed over
            loop.call_soon(workers._cancelled, workers.pool_id, {one.id})

    async def note(payload: int, _helpers: Any) -> None:
        ran.append(payload)

    on_arrival(cancel_last)
    await add(pool, "note", range(3 * AHEAD))
    async with await run_task_list({"note": note}, pool, options()) as workers:
        await until(lambda: len(ran) + len(cancelled) >= 3 * AHEAD)
    assert sorted(ran) == sorted({*range(3 * AHEAD)} - cancelled)
    assert len(cancelled) == 3


async def test_jobs_that_were_not_read_yet_are_held(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, on_arrival: OnArrival
) -> None:
    """What a pool that is unsure does not hold is given back, so that others run it: not those."""
    monkeypatch.setattr(dispatcher, "fetch_size", lambda **_: AHEAD)
    ran: list[int] = []

    def unsure(_: FetchedJobs) -> None:
        workers._dispatcher._fetcher.is_unsure = True

    async def note(payload: int, _helpers: Any) -> None:
        ran.append(payload)

    on_arrival(unsure)
    await add(pool, "note", range(3 * AHEAD))
    async with await run_task_list({"note": note}, pool, options()) as workers:
        await until(lambda: len(ran) >= 3 * AHEAD)
    assert sorted(ran) == list(range(3 * AHEAD))
    await assert_nothing_left(pool)

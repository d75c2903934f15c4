"""Many jobs that were fetched are read while the next fetch is on its way."""

from __future__ import annotations

from collections.abc import Iterator
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


async def test_few_jobs_are_read_at_once(pool: Pool, seen: list[tuple[str, int]]) -> None:
    async with await run_task_list({"nothing": nothing}, pool, options()):
        await until(lambda: ("arrived", 0) in seen)
        seen.clear()
        await add(pool, "nothing", range(dispatcher.MANY - 1))
        await until(lambda: ("read", dispatcher.MANY - 1) in seen)
    arrived = seen.index(("arrived", dispatcher.MANY - 1))
    assert seen[arrived + 1] == ("read", dispatcher.MANY - 1)


async def test_jobs_that_were_not_read_yet_are_given_back_at_the_end(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = JobStore.fetch

    async def last(store: JobStore, *arguments: Any, **options: Any) -> FetchedJobs:
        found = await fetch(store, *arguments, **options)
        if len(found) >= dispatcher.MANY:
            workers.stop("enough")
        return found

    monkeypatch.setattr(JobStore, "fetch", last)
    await add(pool, "nothing", range(2 * AHEAD))
    workers = await run_task_list({"nothing": nothing}, pool, options(concurrency=1))
    await workers.wait()

    assert {row["attempts"] for row in await rows(pool)} == {0}
    assert len(await rows(pool)) == 2 * AHEAD
    assert await locked(pool) == 0


async def test_jobs_that_were_not_read_yet_are_held(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a pool that is unsure does not hold is given back, so that others run it: not those."""
    monkeypatch.setattr(dispatcher, "fetch_size", lambda **_: AHEAD)
    fetch, ran = JobStore.fetch, []

    async def unsure(store: JobStore, *arguments: Any, **options: Any) -> FetchedJobs:
        found = await fetch(store, *arguments, **options)
        workers._dispatcher._fetcher.is_unsure = True
        return found

    async def note(payload: int, _helpers: Any) -> None:
        ran.append(payload)

    monkeypatch.setattr(JobStore, "fetch", unsure)
    await add(pool, "note", range(3 * AHEAD))
    async with await run_task_list({"note": note}, pool, options()) as workers:
        await until(lambda: len(ran) >= 3 * AHEAD)
    assert sorted(ran) == list(range(3 * AHEAD))
    await assert_nothing_left(pool)

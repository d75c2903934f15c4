"""Where no named queue exists, shorter statements fetch and complete jobs; nobody sees which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from kongtask import TaskSpec, WorkerUtils
from kongtask.clock import Clock
from kongtask.core.fetch_start import Range
from kongtask.core.job import Job
from kongtask.postgres.jobs import QUEUES_LAST, JobStore
from kongtask.postgres.life import PoolIdentity
from kongtask.postgres.session import RowHeld
from kongtask.postgres.statements import statement

SCHEMA = "graphile_worker"
JOBS = f"{SCHEMA}._private_jobs"
QUEUES = f"{SCHEMA}._private_job_queues"
NAMES = ("fetch_jobs", "fetch_unqueued_jobs", "complete_jobs", "complete_unqueued_jobs")
OF = {statement(name, SCHEMA): name for name in NAMES}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Watched:
    """A pool's job table, and which of its statements were sent."""

    def __init__(self, pool: asyncpg.Pool[Any], store: JobStore, sent: list[Any]) -> None:
        self.utils, self._store, self._sent = WorkerUtils(pool), store, sent

    async def fetch(self, limit: int = 10, flags: tuple[str, ...] = (), **more: Any) -> list[Job]:
        self._sent.clear()
        found = await self._store.fetch(limit, flags, **more)
        await asyncio.sleep(0)  # loggers are called then
        return list(found)

    async def complete(self, ids: list[int], **more: Any) -> set[int]:
        self._sent.clear()
        held = await self._store.complete(ids, **more)
        await asyncio.sleep(0)
        return held

    @property
    def sent(self) -> list[str]:
        return [OF[each.query] for each in self._sent if each.query in OF]

    @property
    def asked(self) -> bool:
        """Whether the one statement that was sent asked if there are named queues."""
        [fetch] = [each for each in self._sent if each.query in OF]
        return bool(fetch.args[-1])

    async def has_settled(self) -> None:
        """Fetch a job, so that it is known that there are no named queues."""
        await self.utils.add_job("t")
        [job] = await self.fetch()
        await self.complete([job.id])


class Still(Clock):
    """A clock that is moved by hand."""

    now_is = 100.0

    def monotonic(self) -> float:
        return self.now_is


@pytest.fixture
def clock() -> Still:
    return Still()


@pytest.fixture
async def watched(database_url: str, clock: Still) -> AsyncIterator[Watched]:
    sent: list[Any] = []

    async def connect(*arguments: Any, **options: Any) -> Any:
        connection = await asyncpg.connect(*arguments, **options)
        connection.add_query_logger(sent.append)
        return connection

    identity = PoolIdentity(pool_id="pool-me", host="", concurrency=1, tasks=("t", "u"))
    async with asyncpg.create_pool(database_url, min_size=0, connect=connect) as pool:
        store = JobStore(pool, SCHEMA, identity, clock)
        await store.register_tasks()
        yield Watched(pool, store, sent)
        await store.abandon()


async def test_the_second_fetch_is_the_short_one(watched: Watched) -> None:
    await watched.has_settled()
    await watched.utils.add_jobs([("t", n, None) for n in range(3)])
    assert [job.payload for job in await watched.fetch(2)] == [0, 1]
    assert watched.sent == ["fetch_unqueued_jobs"]
    assert [job.payload for job in await watched.fetch()] == [2]
    assert watched.sent == ["fetch_unqueued_jobs"]


async def test_a_look_at_an_empty_table_stays_one_statement(watched: Watched) -> None:
    await watched.has_settled()
    assert await watched.fetch() == []
    assert watched.sent == ["fetch_unqueued_jobs", "fetch_jobs"]
    for _ in range(2):
        assert await watched.fetch() == []
        assert watched.sent == ["fetch_jobs"]


async def test_the_first_job_of_a_named_queue_is_found_at_once(watched: Watched) -> None:
    await watched.has_settled()
    await watched.utils.add_job("t", "plain", TaskSpec(priority=1))
    await watched.utils.add_job("t", "in line", TaskSpec(queue_name="line"))
    found = [(job.payload, job.queue_name) for job in await watched.fetch()]
    assert found == [("in line", "line"), ("plain", None)]
    assert watched.sent == ["fetch_unqueued_jobs", "fetch_jobs"]


async def test_where_a_named_queue_is_each_fetch_is_one_statement(watched: Watched) -> None:
    await watched.utils.add_job("t", None, TaskSpec(queue_name="line"))
    for _ in range(3):
        await watched.utils.add_job("t")
        assert await watched.fetch()
        assert watched.sent == ["fetch_jobs"]


async def test_while_there_are_named_queues_it_asks_for_them_once_a_second(
    watched: Watched, clock: Still
) -> None:
    """To look for one walks over all that are dead."""
    await watched.utils.add_job("t", None, TaskSpec(queue_name="line"))
    asked = []
    for moment in (0.0, 0.3, 0.9, 1.0, 1.9):
        await watched.utils.add_job("t")
        clock.now_is = 100 + moment
        assert await watched.fetch()
        asked.append(watched.asked)
    assert asked == [True, False, False, True, False]


async def test_a_queue_that_is_gone_is_not_missed(watched: Watched, clock: Still) -> None:
    await watched.utils.add_job("t", None, TaskSpec(queue_name="line"))
    [job] = await watched.fetch()
    await watched.complete([job.id])
    await watched.utils.cleanup(["gc_job_queues"])
    clock.now_is += QUEUES_LAST
    await watched.has_settled()
    await watched.utils.add_job("t")
    assert await watched.fetch()
    assert watched.sent == ["fetch_unqueued_jobs"]


async def test_a_fetch_further_on_is_not_the_short_one(watched: Watched) -> None:
    await watched.has_settled()
    await watched.utils.add_job("t", "early", TaskSpec(run_at=LONG_AGO))
    await watched.utils.add_job("t", "late", TaskSpec(run_at=LONG_AGO + timedelta(hours=2)))
    ranges = [Range(0, LONG_AGO + timedelta(hours=1), 0)]
    assert [job.payload for job in await watched.fetch(ranges=ranges)] == ["late"]
    assert watched.sent == ["fetch_jobs"]


@pytest.mark.parametrize("is_short", [True, False])
async def test_both_take_the_same_jobs_in_the_same_order(watched: Watched, is_short: bool) -> None:
    """Those that are due, of its tasks, without its flags, in order, up to the limit."""
    await watched.has_settled()
    if not is_short:
        await watched.utils.add_job("other", None, TaskSpec(queue_name="line"))
    soon = datetime.now(UTC) + timedelta(hours=1)
    for name, spec in {
        "third": TaskSpec(run_at=LONG_AGO + timedelta(1)), "second": TaskSpec(run_at=LONG_AGO),
        "first": TaskSpec(priority=-1), "later": TaskSpec(run_at=soon),
        "refused": TaskSpec(priority=-2, flags=["gpu"]), "over": TaskSpec(priority=5),
        "fourth": TaskSpec(priority=4, flags=["slow"], job_key="k", max_attempts=3),
    }.items():  # fmt: skip
        await watched.utils.add_job("t", name, spec)
    used = await watched.utils.add_job("u", "used up", TaskSpec(priority=-9))
    await watched.utils.permanently_fail_jobs([used.id], "enough")
    await watched.utils.add_job("not ours", None, TaskSpec(priority=-9))

    found = await watched.fetch(4, ("gpu",))

    used_statement = "fetch_unqueued_jobs" if is_short else "fetch_jobs"
    assert watched.sent[-1] == used_statement
    assert [job.payload for job in found] == ["first", "second", "third", "fourth"]
    read = {job.id: job for job in await watched.utils.list_jobs("running")}
    assert [read[job.id] for job in found] == found
    assert [job.attempts for job in found] == [1] * 4


@pytest.mark.parametrize("have_queues", [True, False])
async def test_completing_tells_what_was_others(watched: Watched, have_queues: bool) -> None:
    await watched.utils.add_jobs([("t", None, None)] * 3)
    first, second, third = await watched.fetch()
    await watched.utils.force_unlock_workers(["pool-me"])
    [again, *_] = await watched.fetch(1)
    assert again.id == first.id
    held = await watched.complete([first.id, second.id, third.id, 99], have_queues=have_queues)
    assert held == {first.id}
    assert watched.sent == ["complete_jobs" if have_queues else "complete_unqueued_jobs"]


async def test_a_row_that_somebody_holds_is_not_waited_for(
    watched: Watched, database_url: str
) -> None:
    await watched.utils.add_jobs([("t", None, None)] * 2)
    ids = [job.id for job in await watched.fetch()]
    holding = await asyncpg.connect(database_url)
    try:
        async with holding.transaction():
            await holding.execute(f"select from {JOBS} where id = $1 for update", ids[0])
            with pytest.raises(RowHeld):
                await watched.complete(ids, have_queues=False)
            assert await watched.complete(ids[1:], have_queues=False) == {ids[1]}
    finally:
        await holding.close()

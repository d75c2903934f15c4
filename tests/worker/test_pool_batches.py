"""One statement moves many jobs, and no pool sits on what another could run."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until
from worker_words import Heard, add, assert_nothing_left, is_empty, options, rows

from kongtask import Helpers, RetryJob, TaskSpec, WorkerPool, WorkerUtils, run_task_list
from kongtask.clock import Clock
from kongtask.postgres.jobs import JobStore
from kongtask.worker import crew, dispatcher

Pool: TypeAlias = "asyncpg.Pool[Any]"
HOUR = timedelta(hours=1)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """How many jobs each statement of every store was for."""
    sizes: dict[str, list[int]] = {"fetch": [], "complete": [], "give_back": []}

    def counting(name: str) -> Callable[..., Any]:
        real = getattr(JobStore, name)

        async def call(store: JobStore, *arguments: Any, **how: Any) -> Any:
            found = await real(store, *arguments, **how)
            sizes[name].append(len(found))
            return found

        return call

    for name in sizes:
        monkeypatch.setattr(JobStore, name, counting(name))
    return sizes


async def test_a_thousand_quick_jobs_take_a_few_dozen_statements(
    pool: Pool, counted: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "LONGEST_TURN", math.inf)

    async def quick(payload: object, helpers: Helpers) -> None:
        return None

    await add(pool, "quick", range(2000))
    workers = WorkerPool({"quick": quick}, pool, options(concurrency=20))
    await workers.start()
    await until(lambda: is_empty(pool))
    await workers.release()

    assert sum(counted["complete"]) == 2000
    assert sum(counted["fetch"]) - sum(counted["give_back"]) == 2000
    assert len([size for size in counted["fetch"] if size]) <= 100
    assert len(counted["complete"]) <= 100
    await assert_nothing_left(pool)


class JobClock(Clock):
    """A clock that only jobs move."""

    moment = 0.0

    def monotonic(self) -> float:
        return self.moment


async def test_what_flows_is_not_given_back(pool: Pool, counted: dict[str, list[int]]) -> None:
    """Jobs wait for a moment each; that some job always waits is not staleness."""
    clock = JobClock()

    async def quick(payload: object, helpers: Helpers) -> None:
        clock.moment += crew.LONGEST_WAIT / 100

    await add(pool, "quick", range(1000))
    async with await run_task_list({"quick": quick}, pool, options(concurrency=5, clock=clock)):
        await until(lambda: is_empty(pool))
    assert clock.moment > 9 * crew.LONGEST_WAIT
    assert max(counted["fetch"]) > 5
    assert sum(counted["give_back"]) == 0


async def test_slow_jobs_are_fetched_one_for_each_free_place(database_url: str, pool: Pool) -> None:
    """So that the second pool of workers has its share."""
    go = asyncio.Event()
    places: dict[str | None, int] = {}

    async def slow(payload: object, helpers: Helpers) -> None:
        places[helpers.job.locked_by] = places.get(helpers.job.locked_by, 0) + 1
        await go.wait()

    await add(pool, "slow", range(8))
    both = [await run_task_list({"slow": slow}, database_url, options(concurrency=4))
            for _ in range(2)]  # fmt: skip
    await until(lambda: sum(places.values()) == 8)
    go.set()
    for each in both:
        await each.release()
    assert sorted(places.values()) == [4, 4]


async def test_jobs_that_wait_behind_a_slow_one_are_given_back_and_run_elsewhere(
    database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "LONGEST_WAIT", 0.3)
    monkeypatch.setattr(dispatcher, "look_ahead", lambda _: 10)
    go = asyncio.Event()
    ran: list[tuple[str | None, int]] = []

    async def either(payload: Any, helpers: Helpers) -> None:
        if payload == "slow":
            await go.wait()
        else:
            ran.append((helpers.job.locked_by, helpers.job.attempts))

    await add(pool, "t", ["slow", *range(8)])
    heard = Heard()
    hour = options(poll_interval=HOUR, events=heard.bus)
    first = await run_task_list({"t": either}, database_url, hour)
    await until(lambda: first.waiting == 8)
    await until(lambda: first.waiting == 0)
    monkeypatch.setattr(dispatcher, "look_ahead", lambda _: 0)
    second = await run_task_list(
        {"t": either}, database_url, options(poll_interval=timedelta(milliseconds=20))
    )
    await until(lambda: len(ran) == 8)
    assert {pool_id for pool_id, _ in ran} == {second.pool_id}
    assert {attempts for _, attempts in ran} == {1}
    go.set()
    await first.release()
    await second.release()
    await assert_nothing_left(pool)


async def test_what_was_given_back_is_fetched_again_as_soon_as_there_is_room(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else is there, and the next look without being told is an hour away."""
    monkeypatch.setattr(dispatcher, "LONGEST_WAIT", 0.2)
    sizes = iter([10])
    monkeypatch.setattr(dispatcher, "look_ahead", lambda _: next(sizes, 0))
    go = asyncio.Event()
    ran: list[int] = []

    async def either(payload: Any, helpers: Helpers) -> None:
        if payload == "slow":
            await go.wait()
        else:
            ran.append(payload)

    await add(pool, "t", ["slow", *range(8)])
    async with await run_task_list({"t": either}, pool, options(poll_interval=HOUR)) as workers:
        await until(lambda: workers.waiting == 8)
        await until(lambda: workers.waiting == 0)
        go.set()
        await until(lambda: sorted(ran) == list(range(8)))


async def test_a_queue_goes_on_at_once_although_the_next_look_is_an_hour_away(pool: Pool) -> None:
    done: list[int] = []

    async def step(payload: int, helpers: Helpers) -> None:
        done.append(payload)

    spec = TaskSpec(queue_name="line")
    await WorkerUtils(pool).add_jobs([("step", n, spec) for n in range(20)])
    async with await run_task_list({"step": step}, pool, options(poll_interval=HOUR)):
        await until(lambda: len(done) == 20)


async def test_adding_while_idle_wakes_at_once(pool: Pool) -> None:
    done: list[object] = []
    heard = Heard()
    hour = options(poll_interval=HOUR, events=heard.bus)
    async with await run_task_list({"t": lambda payload, _: done.append(payload)}, pool, hour):
        await until(lambda: heard.data("pool:listen:success"))
        empty = len(heard.data("worker:getJob:empty"))
        await until(lambda: len(heard.data("worker:getJob:empty")) >= max(1, empty))
        await WorkerUtils(pool).add_job("t", 1)
        await until(lambda: done == [1])


async def test_the_poll_finds_what_nobody_told_of(pool: Pool) -> None:
    done: list[object] = []
    heard = Heard()
    quick = options(poll_interval=timedelta(milliseconds=50), events=heard.bus)
    await add(pool, "t", [1])
    await pool.execute("update graphile_worker._private_jobs set run_at = now() + '1 hour'")
    async with await run_task_list({"t": lambda payload, _: done.append(payload)}, pool, quick):
        await until(lambda: heard.data("worker:getJob:empty"))
        await pool.execute("update graphile_worker._private_jobs set run_at = now()")
        await until(lambda: done == [1])


async def test_the_pool_tells_how_many_run_and_wait(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "look_ahead", lambda _: 3)
    monkeypatch.setattr(crew, "LONGEST_WAIT", 3600)
    go = asyncio.Event()

    async def hold(payload: object, helpers: Helpers) -> None:
        await go.wait()

    await add(pool, "hold", range(10))
    async with await run_task_list({"hold": hold}, pool, options(concurrency=2)) as workers:
        await until(lambda: workers.waiting == 3)
        assert [job.payload for job in workers.running] == [0, 1]
        assert len([row for row in await rows(pool) if row["locked_by"] == workers.pool_id]) == 5
        go.set()


class Hands(Clock):
    """The machine's clock, put forward by jobs that say how long they take."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@pytest.mark.parametrize("seconds, most", [(0.002, 3), (0.0, 50)], ids=["slow", "quick"])
async def test_the_event_loop_turns_between_jobs_that_never_wait(
    pool: Pool, counted: dict[str, list[int]], seconds: float, most: int
) -> None:
    """Whatever else runs on the loop has its turn after some milliseconds, not after all jobs.

    In one turn, each worker runs no more jobs than that, and each fetch has let one worker begin.
    """
    clock, turn = Hands(), 0
    ran: Counter[tuple[int, object]] = Counter()

    async def busy(payload: object, helpers: Helpers) -> None:
        clock.ahead += seconds
        ran[turn, asyncio.current_task()] += 1

    async def turning() -> None:
        nonlocal turn
        while True:
            await asyncio.sleep(0)
            turn += 1

    await add(pool, "busy", range(300))
    other = asyncio.create_task(turning())
    async with await run_task_list({"busy": busy}, pool, options(concurrency=100, clock=clock)):
        await until(lambda: is_empty(pool))
    other.cancel()
    assert ran.total() == 300
    assert max(ran.values()) <= most
    workers = Counter(each for each, _ in ran)
    assert max(workers.values()) <= len([size for size in counted["fetch"] if size]) < 100


async def test_what_a_handler_sets_in_the_context_stays_with_its_job(pool: Pool) -> None:
    variable: ContextVar[object] = ContextVar("variable", default=None)
    before: list[object] = []
    tasks: set[object] = set()

    async def setting(payload: object, helpers: Helpers) -> None:
        before.append(variable.get())
        token = variable.set(payload)
        tasks.add(asyncio.current_task())
        if payload == 1:
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
            assert variable.get() == payload
        variable.reset(token)
        variable.set("left behind")

    await add(pool, "setting", range(4))
    async with await run_task_list({"setting": setting}, pool, options(concurrency=1)):
        await until(lambda: is_empty(pool))
    assert before == [None] * 4
    assert None not in tasks


async def test_a_handler_that_cancels_its_own_task_disturbs_no_other_job(pool: Pool) -> None:
    ran: list[object] = []

    async def odd(payload: object, helpers: Helpers) -> None:
        ran.append(payload)
        task = asyncio.current_task()
        assert task is not None
        if payload == 1:
            task.cancel()
        await asyncio.sleep(0)

    await add(pool, "odd", range(4))
    async with await run_task_list({"odd": odd}, pool, options(concurrency=1)):
        await until(lambda: len(ran) == 4)
        await until(lambda: rows_left(pool, 1))
    [left] = await rows(pool)
    assert (left["attempts"], left["payload"]) == (1, "1")


async def rows_left(pool: Pool, count: int) -> bool:
    return len(await rows(pool)) == count


async def test_jobs_of_one_queue_run_in_order_one_at_a_time_and_fast(pool: Pool) -> None:
    log: list[int] = []
    running = 0

    async def step(payload: int, helpers: Helpers) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)
        log.append(payload)
        running -= 1

    spec = TaskSpec(queue_name="line")
    jobs = [("step", n, spec) for n in range(500)]
    await WorkerUtils(pool).add_jobs(jobs, return_jobs=False)
    async with await run_task_list({"step": step}, pool, options(concurrency=10)):
        await until(lambda: is_empty(pool))
    assert log == list(range(500))
    await assert_nothing_left(pool)


async def test_two_pools_never_run_two_jobs_of_one_queue_at_once(
    pool: Pool, database_url: str
) -> None:
    running: Counter[str | None] = Counter()
    overlaps: list[str | None] = []
    done: list[int] = []

    async def step(payload: int, helpers: Helpers) -> None:
        running[helpers.queue_name] += 1
        if running[helpers.queue_name] > 1:
            overlaps.append(helpers.queue_name)
        await asyncio.sleep(0.001 * (payload % 3))
        if payload % 50 == 7 and helpers.job.attempts == 1:
            running[helpers.queue_name] -= 1
            raise RetryJob(timedelta(0))
        done.append(payload)
        running[helpers.queue_name] -= 1

    jobs = [("step", n, TaskSpec(queue_name=f"line {n % 5}")) for n in range(1000)]
    await WorkerUtils(pool).add_jobs(jobs, return_jobs=False)
    quick = options(concurrency=6, poll_interval=timedelta(milliseconds=20))
    async with (
        await run_task_list({"step": step}, pool, quick),
        await run_task_list({"step": step}, database_url, quick),
    ):
        await until(lambda: is_empty(pool))
    assert overlaps == []
    assert sorted(done) == list(range(1000))
    await assert_nothing_left(pool)

"""Jobs run: once or for as long as the pool lives, in tasks or threads, with what they need."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until
from worker_words import Heard, Lines, add, assert_nothing_left, count, is_empty, options, rows

from kongtask import (
    ConfigurationError,
    Helpers,
    TaskSpec,
    ThreadHelpers,
    Worker,
    WorkerUtils,
    run_task_list,
    run_task_list_once,
)
from kongtask.core.attempt import SUCCESS
from kongtask.core.event import JobCompleteData

Pool: TypeAlias = "asyncpg.Pool[Any]"

PAYLOADS = [
    {}, {"a": [1, {"b": None}]}, [], [1, "two", None], "text", "", "öäü ✓ 𝄞", 'quote " \\ /',
    0, -1, 2**63, 1.5, 1e-300, True, False, {"": ""}, {"nul": "\0", "lone": "\ud800"},
]  # fmt: skip


@pytest.mark.parametrize("many", [False, True], ids=["one by one", "in bulk"])
async def test_payloads_of_every_json_kind_arrive_as_they_were_added(
    pool: Pool, many: bool
) -> None:
    seen: list[str] = []

    async def look(payload: object, helpers: Helpers) -> None:
        seen.append(json.dumps(payload))

    utils = WorkerUtils(pool)
    if many:
        await utils.add_jobs([("look", payload, None) for payload in PAYLOADS])
    else:
        for payload in PAYLOADS:
            await utils.add_job("look", payload)
    await run_task_list_once({"look": look}, pool, options())

    assert sorted(seen) == sorted(json.dumps(each) for each in PAYLOADS)


async def test_no_payload_is_an_empty_object(pool: Pool) -> None:
    seen: list[object] = []
    await WorkerUtils(pool).add_job("look")
    await run_task_list_once({"look": lambda payload, _: seen.append(payload)}, pool, options())
    assert seen == [{}]


async def test_once_runs_chains_to_the_end_and_leaves_nothing(pool: Pool) -> None:
    async def count_down(payload: dict[str, int], helpers: Helpers) -> None:
        if payload["n"]:
            await helpers.add_job("count_down", {"n": payload["n"] - 1})

    heard = Heard()
    await WorkerUtils(pool).add_job("count_down", {"n": 20})
    tasks = {"count_down": count_down}
    await run_task_list_once(tasks, pool, options(events=heard.bus, concurrency=3))

    assert len(heard.data("job:success")) == 21
    await assert_nothing_left(pool)


async def test_once_runs_serial_queues_to_the_end_one_at_a_time(pool: Pool) -> None:
    running, most, done = 0, 0, 0

    async def step(payload: object, helpers: Helpers) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        done += 1

    spec = TaskSpec(queue_name="line")
    await WorkerUtils(pool).add_jobs([("step", {"n": n}, spec) for n in range(30)])
    await run_task_list_once({"step": step}, pool, options(concurrency=5))

    assert (done, most) == (30, 1)
    await assert_nothing_left(pool)


async def test_once_leaves_future_jobs_and_retries_alone(pool: Pool) -> None:
    ran: list[int] = []

    async def fail(payload: dict[str, int], helpers: Helpers) -> None:
        ran.append(payload["n"])
        raise ValueError("no")

    later = datetime.now(UTC) + timedelta(hours=1)
    await WorkerUtils(pool).add_job("fail", {"n": 1})
    await WorkerUtils(pool).add_job("fail", {"n": 2}, TaskSpec(run_at=later))
    await run_task_list_once({"fail": fail}, pool, options())

    assert ran == [1]
    assert [(row["attempts"], row["locked_by"]) for row in await rows(pool)] == [
        (1, None),
        (0, None),
    ]


async def test_once_on_an_empty_queue_returns(pool: Pool) -> None:
    await asyncio.wait_for(run_task_list_once({"t": print}, pool, options()), 10)
    await assert_nothing_left(pool)


async def test_a_connection_string_opens_a_pool_and_closes_it(database_url: str) -> None:
    seen: list[object] = []
    async with await run_task_list(
        {"look": lambda payload, _: seen.append(payload)}, database_url, options()
    ) as workers:
        await workers.add_job("look", 1)
        await until(lambda: seen)
    connection = await asyncpg.connect(database_url)
    others = "select count(*) from pg_stat_activity where datname = current_database()"

    async def is_alone() -> bool:
        return await connection.fetchval(others) == 1

    await until(is_alone)
    await connection.close()


async def test_unknown_tasks_are_left_to_others(pool: Pool) -> None:
    await add(pool, "unknown", [1])
    await add(pool, "known", [1])
    await run_task_list_once({"known": lambda *_: None}, pool, options())
    [left] = await rows(pool)
    assert (left["attempts"], left["locked_by"]) == (0, None)


async def test_priorities_come_first_then_run_at_then_the_order_of_adding(pool: Pool) -> None:
    ran: list[str] = []
    past = datetime.now(UTC) - timedelta(minutes=5)

    async def note(payload: str, helpers: Helpers) -> None:
        ran.append(payload)

    utils = WorkerUtils(pool)
    await utils.add_job("note", "last", TaskSpec(priority=10))
    await utils.add_job("note", "third")
    await utils.add_job("note", "fourth")
    await utils.add_job("note", "second", TaskSpec(run_at=past))
    await utils.add_job("note", "first", TaskSpec(priority=-10))
    await run_task_list_once({"note": note}, pool, options())

    assert ran == ["first", "second", "third", "fourth", "last"]


async def test_events_of_a_life_come_in_order(pool: Pool) -> None:
    heard = Heard()
    workers = await run_task_list(
        {"good": lambda *_: None}, pool, options(events=heard.bus, concurrency=2)
    )
    await until(lambda: heard.data("pool:listen:success"))
    await workers.add_job("good")
    await until(lambda: heard.data("job:complete"))
    await workers.release()

    assert heard.names("pool", "stop") == [
        "pool:create", "pool:listen:success", "stop", "pool:gracefulShutdown",
        "pool:gracefulShutdown:complete", "pool:release",
    ]  # fmt: skip
    assert heard.names("job") == ["job:start", "job:success", "job:complete"]
    by_worker = ("worker:create", "worker:release", "worker:stop")
    assert heard.names(*by_worker) == [name for name in by_worker for _ in range(2)]
    assert heard.all[0][0] == "pool:create"
    assert heard.all[-1][0] == "pool:release"
    assert "worker:getJob:start" in heard.names("worker")
    assert "worker:getJob:empty" in heard.names("worker")


@pytest.mark.parametrize(
    "attempts, expected",
    [(2, ["job:start", "job:error", "job:complete"]),
     (1, ["job:start", "job:error", "job:failed", "job:complete"])],
    ids=["a retry is left", "the last attempt"],
)  # fmt: skip
async def test_events_of_a_failure_come_in_order(
    pool: Pool, attempts: int, expected: list[str]
) -> None:
    heard = Heard()

    async def fail(payload: object, helpers: Helpers) -> None:
        raise ValueError("no")

    await WorkerUtils(pool).add_job("fail", spec=TaskSpec(max_attempts=attempts))
    await run_task_list_once({"fail": fail}, pool, options(events=heard.bus))

    assert heard.names("job") == expected
    [data] = heard.data("job:complete")
    assert isinstance(data.error, ValueError)
    assert data.job.attempts == 1
    assert data.seconds >= 0


async def test_completion_is_told_when_the_database_has_it(pool: Pool) -> None:
    counts: list[int] = []
    heard = Heard()

    async def look(_: object) -> None:
        counts.append(await count(pool))

    heard.bus.on("job:complete", look)
    await add(pool, "t", [1])
    await run_task_list_once({"t": lambda *_: None}, pool, options(events=heard.bus))
    assert counts == [0]


async def test_the_data_of_an_event_are_whole_and_cannot_be_changed(pool: Pool) -> None:
    heard = Heard()
    await add(pool, "t", [1])
    await run_task_list_once({"t": lambda *_: None}, pool, options(events=heard.bus))
    [data] = heard.data("job:complete")
    assert data == JobCompleteData(
        worker_id=data.worker_id, job=data.job, outcome=SUCCESS, seconds=data.seconds
    )
    with pytest.raises(FrozenInstanceError):
        data.seconds = 0


async def test_a_handler_adds_jobs_inside_its_own_transaction(pool: Pool) -> None:
    async def keep(payload: object, helpers: Helpers) -> None:
        async with helpers.pool.acquire() as connection, connection.transaction():
            await helpers.add_job("kept", connection=connection)
            await helpers.add_jobs([("kept", {}, None)], connection=connection)

    async def drop(payload: object, helpers: Helpers) -> None:
        async with helpers.pool.acquire() as connection, connection.transaction():
            await helpers.add_job("dropped", connection=connection)
            await helpers.add_jobs([("dropped", {}, None)], connection=connection)
            raise ValueError("roll it back")

    await add(pool, "keep", [1])
    await add(pool, "drop", [1])
    await run_task_list_once({"keep": keep, "drop": drop}, pool, options())

    query = """select identifier from graphile_worker._private_jobs as jobs
        join graphile_worker._private_tasks as tasks on tasks.id = jobs.task_id order by 1"""
    assert [row["identifier"] for row in await pool.fetch(query)] == ["drop", "kept", "kept"]


async def test_a_thread_has_what_a_coroutine_has(pool: Pool) -> None:
    seen: list[object] = []

    def start(payload: object, helpers: ThreadHelpers) -> None:
        assert threading.current_thread() is not threading.main_thread()
        helpers.logger.info("adding", {"n": 3})
        job = helpers.add_job("end", 1, TaskSpec(queue_name="line"))
        more = helpers.add_jobs([("end", 2, None), ("end", 3, None)])
        seen.append([helpers.job.task_identifier, helpers.schema, helpers.queue_name])
        seen.append([job.id, *(each.id for each in more)])

    def end(payload: object, helpers: ThreadHelpers) -> None:
        seen.append((payload, helpers.queue_name))

    lines = Lines()
    await WorkerUtils(pool).add_job("start", spec=TaskSpec(queue_name="first"))
    await run_task_list_once({"start": start, "end": end}, pool, options(logger=lines))

    assert seen[0] == ["start", "graphile_worker", "first"]
    assert sorted(each for each in seen[2:]) == [(1, "line"), (2, None), (3, None)]
    [(_, _, facts)] = [line for line in lines.lines if line[1] == "adding"]
    assert {"n": 3, "task": "start"}.items() <= facts.items()
    assert set(facts) == {"n", "task", "job", "worker"}


async def test_plain_functions_run_in_parallel_up_to_the_concurrency(pool: Pool) -> None:
    together = threading.Barrier(4, timeout=20)
    running = 0
    most = 0
    lock = threading.Lock()

    def meet(payload: object, helpers: ThreadHelpers) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait()
        with lock:
            running -= 1
        together.wait()

    heard = Heard()
    await add(pool, "meet", range(8))
    await run_task_list_once({"meet": meet}, pool, options(concurrency=4, events=heard.bus))

    assert len(heard.data("job:success")) == 8
    assert most == 4


class Callable_:
    async def __call__(self, payload: object, helpers: Helpers) -> None:
        await helpers.add_job("end")


async def adding(_extra: str, payload: object, helpers: Helpers) -> None:
    await helpers.add_job("end")


async def method_like(payload: object, helpers: Helpers) -> None:
    await helpers.add_job("end")


def wrapped_plainly(payload: object, helpers: Any) -> Any:
    return method_like(payload, helpers)


@pytest.mark.parametrize(
    "handler",
    [Callable_(), Callable_().__call__, functools.partial(adding, "x"),
     functools.partial(functools.partial(adding), "x"), functools.partial(Callable_())],
    ids=["object", "method", "partial", "partial of partial", "partial of object"],
)  # fmt: skip
async def test_coroutine_handlers_of_every_kind_run_on_the_event_loop(
    pool: Pool, handler: Any
) -> None:
    ended: list[object] = []
    await add(pool, "start", [1])
    tasks = {"start": handler, "end": lambda payload, _: ended.append(payload)}
    await asyncio.wait_for(run_task_list_once(tasks, pool, options()), 20)
    assert ended == [{}]
    await assert_nothing_left(pool)


async def test_a_plain_function_that_returns_a_coroutine_cannot_block_the_loop(pool: Pool) -> None:
    async def inner(payload: object, helpers: ThreadHelpers) -> None:
        helpers.add_job("end")

    await add(pool, "start", [1])
    tasks = {"start": lambda payload, helpers: inner(payload, helpers), "end": print}
    await asyncio.wait_for(run_task_list_once(tasks, pool, options()), 20)
    [left] = await rows(pool)
    assert "make the handler itself an `async def`" in left["last_error"]


async def test_a_serial_queue_never_runs_two_at_once_with_three_pools(
    database_url: str, pool: Pool
) -> None:
    running: dict[str, int] = {"a": 0, "b": 0}
    most = 0
    done: list[tuple[str, int]] = []

    async def step(payload: dict[str, Any], helpers: Helpers) -> None:
        nonlocal most
        name = payload["queue"]
        running[name] += 1
        most = max(most, running[name])
        await helpers.pool.fetchval("select 1")
        running[name] -= 1
        done.append((name, payload["n"]))

    jobs = [
        ("step", {"queue": name, "n": n}, TaskSpec(queue_name=name))
        for n in range(60)
        for name in ("a", "b")
    ]
    await WorkerUtils(pool).add_jobs(jobs)
    fast = options(concurrency=4, poll_interval=timedelta(milliseconds=20))
    pools = [await run_task_list({"step": step}, database_url, fast) for _ in range(3)]
    await until(lambda: is_empty(pool))
    for each in pools:
        await each.release()

    assert most == 1
    assert sorted(done) == sorted((name, n) for name in "ab" for n in range(60))
    await assert_nothing_left(pool)


async def test_queues_at_the_head_do_not_starve_what_stands_behind(pool: Pool) -> None:
    first = asyncio.Event()
    free: list[int] = []

    async def hold(payload: object, helpers: Helpers) -> None:
        await first.wait()

    async def pass_by(payload: int, helpers: Helpers) -> None:
        free.append(payload)
        if len(free) == 50:
            first.set()

    line = [("hold", {}, TaskSpec(queue_name=name)) for name in ("a", "b") for _ in range(40)]
    await WorkerUtils(pool).add_jobs(line)
    await add(pool, "pass_by", range(50))
    hour = options(concurrency=4, poll_interval=timedelta(hours=1))
    async with await run_task_list({"hold": hold, "pass_by": pass_by}, pool, hour):
        await until(lambda: len(free) == 50)
        await until(lambda: is_empty(pool))


@pytest.mark.parametrize("kind", ["static", "function", "coroutine"])
async def test_forbidden_flags_leave_jobs_to_others(pool: Pool, kind: str) -> None:
    ran: list[object] = []

    async def coroutine() -> list[str]:
        return ["heavy"]

    changed: dict[str, dict[str, Any]] = {
        "static": {"forbidden_flags": ["heavy"]},
        "function": {"forbidden_flags_fn": lambda: ["heavy"]},
        "coroutine": {"forbidden_flags_fn": coroutine},
    }
    utils = WorkerUtils(pool)
    await utils.add_job("t", "heavy", TaskSpec(flags=("heavy", "red")))
    await utils.add_job("t", "red", TaskSpec(flags=("red",)))
    await utils.add_job("t", "plain")
    tasks = {"t": lambda payload, _: ran.append(payload)}
    await run_task_list_once(tasks, pool, options(**changed[kind]))

    assert ran == ["red", "plain"]
    [left] = await rows(pool)
    assert left["attempts"] == 0


async def test_forbidden_flags_are_asked_before_every_fetch(pool: Pool) -> None:
    forbidden = {"heavy"}
    asked, ran = 0, list[object]()

    def ask() -> list[str]:
        nonlocal asked
        asked += 1
        return sorted(forbidden)

    await WorkerUtils(pool).add_job("t", 1, TaskSpec(flags=("heavy",)))
    tasks = {"t": lambda payload, _: ran.append(payload)}
    quick = options(forbidden_flags_fn=ask, poll_interval=timedelta(milliseconds=5))
    async with await run_task_list(tasks, pool, quick):
        await until(lambda: asked > 3)
        assert not ran
        forbidden.clear()
        await until(lambda: ran)


async def test_forbidden_flags_that_raise_are_told_at_once_and_asked_again(pool: Pool) -> None:
    lines, ran = Lines(), list[object]()
    broken = True

    def ask() -> list[str]:
        if broken:
            raise LookupError("no flags today")
        return []

    await add(pool, "t", [1])
    quick = options(
        forbidden_flags_fn=ask, poll_interval=timedelta(milliseconds=5), logger=lines
    )  # fmt: skip
    async with await run_task_list({"t": lambda payload, _: ran.append(payload)}, pool, quick):
        await until(lambda: lines.said("no flags today"))
        assert not ran
        broken = False
        await until(lambda: ran)
    assert len(lines.said("no flags today")) == 1


async def test_forbidden_flags_that_raise_end_a_run_once_after_its_running_jobs(
    pool: Pool,
) -> None:
    ran: list[str] = []
    started = asyncio.Event()
    asked = 0

    def ask() -> list[str]:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise LookupError("no flags today")
        return []

    async def slow(payload: object, helpers: Helpers) -> None:
        await helpers.add_job("other")
        started.set()
        await helpers.pool.fetchval("select pg_sleep(0.2)")
        ran.append("slow")

    await add(pool, "slow", [1])
    with pytest.raises(LookupError, match="no flags today"):
        await run_task_list_once(
            {"slow": slow}, pool, options(forbidden_flags_fn=ask, concurrency=2)
        )
    assert ran == ["slow"]
    assert await count(pool) == 1


async def test_cancelling_a_run_once_gives_its_jobs_back(pool: Pool) -> None:
    started = asyncio.Event()

    async def hang(payload: object, helpers: Helpers) -> None:
        started.set()
        await asyncio.Event().wait()

    await add(pool, "hang", [1])
    run = asyncio.create_task(run_task_list_once({"hang": hang}, pool, options()))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    [left] = await rows(pool)
    assert (left["attempts"], left["locked_by"]) == (0, None)


async def test_a_pool_of_too_few_connections_is_refused(database_url: str) -> None:
    with pytest.raises(ConfigurationError, match="of 3 is too small: give at least 4"):
        await run_task_list({"t": print}, database_url, options(max_pool_size=3))


async def test_a_start_that_fails_keeps_no_connection(empty_database_url: str) -> None:
    async with asyncpg.create_pool(empty_database_url, min_size=1, max_size=4) as pool:
        with pytest.raises(ConfigurationError, match="kongtask migrate"):
            await run_task_list({"t": print}, pool, options())
        await pool.execute("create schema graphile_worker")
        with pytest.raises(ConfigurationError, match="kongtask migrate"):
            await run_task_list({"t": print}, pool, options())
        await asyncio.wait_for(pool.close(), 30)


async def test_a_start_whose_tables_refuse_keeps_no_connection(pool: Pool) -> None:
    await pool.execute("alter table graphile_worker._kongtask_pools rename column host to guest")
    with pytest.raises(ConfigurationError):
        await run_task_list({"t": print}, pool, options())
    await asyncio.wait_for(pool.close(), 30)


async def test_a_job_that_is_due_since_ever_holds_nobody_up(pool: Pool) -> None:
    await add(pool, "t", [1, 2])
    await pool.execute(
        "update graphile_worker._private_jobs set run_at = '-infinity' "
        "where id = (select min(id) from graphile_worker._private_jobs)"
    )
    ran: list[object] = []
    tasks = {"t": lambda payload, _: ran.append(payload)}
    await run_task_list_once(tasks, pool, options(concurrency=2))
    assert sorted(ran) == [1, 2]


async def test_the_five_ways_of_a_worker_to_add(pool: Pool) -> None:
    worker = Worker(pool)
    later = datetime.now(UTC) + timedelta(hours=1)
    plain = await worker.add_job("t", {"n": 1})
    first = await worker.add_job_with_spec("t", {"n": 2}, TaskSpec(job_key="k", run_at=later))
    kept = await worker.add_job_with_preserve_run_at("t", {"n": 3}, "k")
    ignored = await worker.add_job_with_unsafe_dedupe("t", {"n": 4}, "k")
    replaced = await worker.add_job_with_replace("t", {"n": 5}, "k")

    assert plain.id != first.id == kept.id == ignored.id == replaced.id
    assert [kept.payload, ignored.payload, replaced.payload] == [{"n": 3}, {"n": 3}, {"n": 5}]
    assert kept.run_at == ignored.run_at == later
    assert replaced.run_at < later
    assert replaced.revision == 3

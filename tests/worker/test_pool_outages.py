"""The database goes away, refuses, and changes under the pool's feet: no job is lost or doubled."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until
from worker_words import (
    JOBS,
    POOLS,
    QUEUES,
    Heard,
    Lines,
    add,
    assert_nothing_left,
    is_empty,
    kill_backends,
    locked,
    options,
    rows,
)

from kongtask import (
    Helpers,
    SchemaTooNew,
    StoreUnavailable,
    TaskSpec,
    WorkerUtils,
    run_task_list,
    run_task_list_once,
)
from kongtask.postgres.jobs import JobStore
from kongtask.worker import recorder

Pool: TypeAlias = "asyncpg.Pool[Any]"
HOUR = timedelta(hours=1)


async def test_killing_all_connections_again_and_again_loses_no_job(
    pool: Pool, database_url: str
) -> None:
    runs: Counter[int] = Counter()
    lines = Lines()
    kills = 0
    killed = asyncio.Condition()

    async def step(payload: int, helpers: Helpers) -> None:
        runs[payload] += 1
        async with killed:
            await killed.wait_for(lambda: len(runs) < 200 * (kills + 1))

    async def note(payload: int, helpers: Helpers) -> None:
        await asyncio.sleep(0)
        await step(payload, helpers)

    queued = [("step", n, TaskSpec(queue_name=f"q{n % 7}")) for n in range(1800, 2000)]
    await add(pool, "note", range(1800))
    await WorkerUtils(pool).add_jobs(queued)
    quick = options(concurrency=10, poll_interval=timedelta(milliseconds=100), logger=lines)
    workers = await run_task_list({"note": note, "step": step}, database_url, quick)
    while kills < 10:
        await until(lambda: len(runs) >= 200 * (kills + 1))  # noqa: B023
        await kill_backends(pool, database_url)
        async with killed:
            kills += 1
            killed.notify_all()
    await until(lambda: empty(database_url))
    await workers.release()

    assert set(runs) == set(range(2000))
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as fresh:
        await assert_nothing_left(fresh)
    assert not [line for line in lines.lines if line[0] == "error"]


async def empty(url: str) -> bool:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(f"select count(*) from {JOBS}") == 0
    finally:
        await connection.close()


@pytest.mark.parametrize("name", ["fetch", "complete", "fail", "give_back_unheld"])
async def test_an_answer_that_is_lost_on_its_way_costs_nothing(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The statement was committed, and the connection broke before its answer."""
    real = getattr(JobStore, name)
    losses = iter([True, True])
    runs: Counter[object] = Counter()

    async def lossy(store: JobStore, *arguments: Any, **how: Any) -> Any:
        found = await real(store, *arguments, **how)
        if next(losses, False):
            raise StoreUnavailable("the answer was lost")
        return found

    async def run(payload: int, helpers: Helpers) -> None:
        runs[payload] += 1
        if payload == 0:
            raise ValueError("no")

    monkeypatch.setattr(JobStore, name, lossy)
    heard = Heard()
    await add(pool, "t", range(5))
    await pool.execute(f"update {JOBS} set max_attempts = 1")
    quick = options(poll_interval=timedelta(milliseconds=20), concurrency=2, events=heard.bus)
    async with await run_task_list({"t": run}, pool, quick):
        await until(lambda: len(heard.data("job:complete")) == 5)
    assert runs == Counter(dict.fromkeys(range(5), 1))
    assert not [data for data in heard.data("job:complete") if data.lost]
    [left] = await rows(pool)
    assert (left["attempts"], left["locked_by"], left["last_error"]) == (1, None, "no")


async def test_a_fetch_that_fails_is_tried_again_soon_however_rare_the_polls(
    pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, heard = Lines(), Heard()
    real = JobStore.fetch
    losses = iter([True, True])

    async def lossy(store: JobStore, *arguments: Any, **how: Any) -> Any:
        if next(losses, False):
            raise StoreUnavailable("the connection to PostgreSQL was lost")
        return await real(store, *arguments, **how)

    monkeypatch.setattr(JobStore, "fetch", lossy)
    monkeypatch.setattr("kongtask.worker.dispatcher.LONGEST_TROUBLE", 0.1)
    await add(pool, "t", [1])
    hour = options(poll_interval=HOUR, logger=lines, events=heard.bus)
    async with await run_task_list({"t": lambda *_: None}, pool, hour):
        await until(lambda: heard.data("job:success"))
    assert len(lines.said("no answer from PostgreSQL, trying again (fetching)")) == 1
    assert len(heard.data("worker:getJob:error")) == 2


async def test_a_job_that_somebody_takes_while_it_runs_is_told_as_lost(
    pool: Pool, database_url: str
) -> None:
    go = asyncio.Event()
    runs = 0

    async def hold(payload: object, helpers: Helpers) -> None:
        nonlocal runs
        runs += 1
        await go.wait()

    first, second, lines = Heard(), Heard(), Lines()
    await WorkerUtils(pool).add_job("hold", spec=TaskSpec(queue_name="line"))
    workers = await run_task_list({"hold": hold}, pool, options(events=first.bus, logger=lines))
    await until(lambda: runs == 1)
    await WorkerUtils(pool).force_unlock_workers([workers.pool_id])
    others = await run_task_list({"hold": hold}, database_url, options(events=second.bus))
    await until(lambda: runs == 2)
    go.set()
    await workers.release()
    await others.release()

    assert [data.lost for data in first.data("job:complete")] == [True]
    assert [data.lost for data in second.data("job:complete")] == [False]
    assert lines.said("was taken over by others before its run was recorded")
    await assert_nothing_left(pool)


async def test_the_queue_of_a_job_that_was_deleted_while_it_ran_goes_on(pool: Pool) -> None:
    started, go = asyncio.Event(), asyncio.Event()
    ran: list[int] = []

    async def step(payload: int, helpers: Helpers) -> None:
        started.set()
        await go.wait()
        ran.append(payload)

    spec = TaskSpec(queue_name="line")
    first, _ = await WorkerUtils(pool).add_jobs([("step", n, spec) for n in (1, 2)])
    heard = Heard()
    hour = options(poll_interval=HOUR, events=heard.bus)
    async with await run_task_list({"step": step}, pool, hour):
        await started.wait()
        await pool.execute(f"delete from {JOBS} where id = $1", first.id)
        go.set()
        await until(lambda: ran == [1, 2])
    assert [data.lost for data in heard.data("job:complete")] == [True, False]
    await assert_nothing_left(pool)


async def test_a_pool_that_ends_leaves_no_queue_locked(pool: Pool) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    async def hold(payload: object, helpers: Helpers) -> None:
        started.set()
        await go.wait()

    await WorkerUtils(pool).add_job("hold", spec=TaskSpec(queue_name="line"))
    workers = await run_task_list({"hold": hold}, pool, options())
    await started.wait()
    await pool.execute(f"delete from {JOBS}")
    assert await locked(pool) == 1
    go.set()
    await workers.release()
    await assert_nothing_left(pool)


async def test_outcomes_wait_for_the_database_and_are_told_when_it_has_them(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here as a deadlock: an error of the moment is not the fault of any job of the batch."""
    monkeypatch.setattr(recorder, "FIRST_DELAY", 0.01)
    lines, heard = Lines(), Heard()
    ids = await add(pool, "t", range(20))
    await pool.execute(
        """create table trouble (); create function refuse() returns trigger language plpgsql as $$
        begin
            if exists (select from pg_tables where tablename = 'trouble') then
                raise exception 'deadlock detected' using errcode = 'deadlock_detected';
            end if;
            return old;
        end $$;
        create trigger refuse before delete on graphile_worker._private_jobs
        for each row execute function refuse();"""
    )
    quick = options(concurrency=5, logger=lines, events=heard.bus)
    async with await run_task_list({"t": lambda *_: None}, pool, quick):
        await until(lambda: lines.said("(recording): PostgreSQL cannot do this now"))
        assert not heard.data("job:complete")
        assert len(await rows(pool)) == len(ids)
        await pool.execute("drop table trouble")
        await until(lambda: is_empty(pool))
    assert len(heard.data("job:success")) == 20
    assert not lines.said("was refused")


async def test_a_pool_of_a_demoted_server_tries_a_new_connection(
    pool: Pool, database_url: str
) -> None:
    heard = Heard()

    def errors() -> list[str]:
        return [str(data.error) for data in heard.data("worker:getJob:error")]

    name = database_url.rpartition("/")[2]
    done: list[object] = []
    quick = options(poll_interval=timedelta(milliseconds=50), events=heard.bus)
    workers = await run_task_list(
        {"t": lambda payload, _: done.append(payload)}, database_url, quick
    )
    await until(lambda: heard.data("pool:listen:success"))
    await pool.execute(f"alter database {name} set default_transaction_read_only = on")
    await kill_backends(pool, database_url)
    await until(lambda: [error for error in errors() if "takes no writes now" in error])

    connection = await asyncpg.connect(database_url)
    await connection.execute("set default_transaction_read_only = off")
    await connection.execute(f"alter database {name} set default_transaction_read_only = off")
    await WorkerUtils(connection).add_job("t", 1)
    await connection.close()
    await until(lambda: done == [1])
    await workers.release()


async def test_the_connection_that_listens_is_made_again(pool: Pool, database_url: str) -> None:
    heard, done = Heard(), list[object]()
    hour = options(poll_interval=HOUR, events=heard.bus)
    async with await run_task_list({"t": lambda payload, _: done.append(payload)}, pool, hour):
        await until(lambda: heard.data("pool:listen:success"))
        connection = await asyncpg.connect(database_url)
        await connection.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where query like 'LISTEN%' and datname = current_database()"
        )
        await until(lambda: len(heard.data("pool:listen:success")) == 2)
        [error] = heard.data("pool:listen:error")
        assert isinstance(error.error, StoreUnavailable)
        await WorkerUtils(connection).add_job("t", 1)
        await until(lambda: done == [1])
        await connection.close()


async def test_a_breaking_migration_stops_the_pool_after_its_running_jobs(pool: Pool) -> None:
    started, go = asyncio.Event(), asyncio.Event()
    heard, ran = Heard(), list[object]()

    async def hold(payload: object, helpers: Helpers) -> None:
        started.set()
        await go.wait()
        ran.append(payload)

    await add(pool, "hold", [1])
    workers = await run_task_list({"hold": hold}, pool, options(events=heard.bus))
    await started.wait()
    await until(lambda: heard.data("pool:listen:success"))
    await pool.execute("insert into graphile_worker.migrations (id, breaking) values (99, true)")
    await pool.execute(
        "select pg_notify('worker:migrate', '{\"migrationNumber\": 99, \"breaking\": true}')"
    )
    await until(lambda: workers.is_stopping)
    go.set()
    with pytest.raises(SchemaTooNew, match="level 99"):
        await workers.wait()
    assert ran == [1]
    await assert_nothing_left(pool)


@pytest.mark.parametrize(
    "payload",
    ['{"breaking": true}', '{"breaking": false}', "", "[]", '{"breaking": 1'],
    ids=["of another schema", "not breaking", "empty", "a list", "broken"],
)
async def test_other_announcements_stop_nobody(pool: Pool, payload: str) -> None:
    heard, ran = Heard(), list[object]()
    quick = options(events=heard.bus)
    async with await run_task_list(
        {"t": lambda payload, _: ran.append(payload)}, pool, quick
    ) as it:
        await until(lambda: heard.data("pool:listen:success"))
        await pool.execute("select pg_notify('worker:migrate', $1)", payload)
        await it.add_job("t", 1)
        await until(lambda: ran)
        assert not it.is_stopping


async def test_once_ends_with_the_error_when_the_database_goes_and_after_its_running_jobs(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job that runs is finished and recorded first; nothing stays locked."""
    real, fetches = JobStore.fetch, 0
    begun, ended = asyncio.Event(), False

    async def failing(store: JobStore, *arguments: Any, **how: Any) -> Any:
        nonlocal fetches
        fetches += 1
        if fetches == 2:
            await begun.wait()
            raise StoreUnavailable("gone")
        return await real(store, *arguments, **how)

    async def slow(payload: object, helpers: Helpers) -> None:
        nonlocal ended
        begun.set()
        await until(lambda: fetches >= 2)
        await helpers.pool.fetchval("select pg_sleep(0.1)")
        ended = True

    async def poke(_: object) -> None:
        return None

    monkeypatch.setattr(JobStore, "fetch", failing)
    spec = TaskSpec(queue_name="line")
    await WorkerUtils(pool).add_job("slow", spec=spec)
    with pytest.raises(StoreUnavailable, match="gone"):
        await run_task_list_once({"slow": slow}, pool, options(concurrency=2))
    assert ended
    await assert_nothing_left(pool)


async def test_tables_that_vanish_are_told_and_waited_for(pool: Pool) -> None:
    lines, done, heard = Lines(), list[object](), Heard()
    quick = options(poll_interval=timedelta(milliseconds=20), logger=lines, events=heard.bus)
    async with await run_task_list({"t": lambda payload, _: done.append(payload)}, pool, quick):
        await until(lambda: heard.data("worker:getJob:empty"))
        await pool.execute("alter schema graphile_worker rename to away")
        await until(lambda: lines.said("kongtask migrate"))
        await pool.execute("alter schema away rename to graphile_worker")
        await WorkerUtils(pool).add_job("t", 1)
        await until(lambda: done == [1])


async def test_nothing_but_rows_says_that_a_pool_lives(pool: Pool) -> None:
    async with await run_task_list(
        {"a": print, "b": print}, pool, options(worker_name="pod-1")
    ) as it:
        [row] = await pool.fetch(f"select * from {POOLS}")
        assert (row["pool_id"], row["host"], row["concurrency"], row["tasks"]) == (
            it.pool_id, "pod-1", 1, ["a", "b"],
        )  # fmt: skip
        assert it.pool_id.startswith("pool-pod-1-")
        assert await pool.fetchval(f"select count(*) from {QUEUES}") == 0
    await assert_nothing_left(pool)

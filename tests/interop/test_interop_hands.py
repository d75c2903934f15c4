"""What people and the database do to jobs that the other side runs, and how each side ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from graphile import FOLDER, LEVEL_19, Graphile
from hosting import Host
from sides import JOBS, OTHER, Node, Python, Side, Table, begun
from waiting import until

from kongtask import SchemaTooNew, WorkerUtils

BATCHES = {"preset": {"worker": {"completeJobBatchDelay": 0}}}
"""Without them a pool that stops in Node leaves the job that ran last locked."""

BOTH_WAYS = pytest.mark.parametrize("one", ["node", "python"])


@BOTH_WAYS
async def test_what_the_other_runs_cannot_be_changed_by_hand(
    sides: dict[str, Side], table: Table, one: str
) -> None:
    hand, runner = sides[one], sides[OTHER[one]]
    job_id = await hand.add("work", {"number": 1, "hold": "g"})
    await runner.start()
    await begun(table, 1)
    before = await table.job(job_id)
    assert await hand.complete(job_id) == 0
    assert await hand.fail(job_id, "why") == 0
    assert await hand.reschedule(job_id, attempts=7) == 0
    assert await table.job(job_id) == before
    await runner.open("g")
    await until(table.is_empty)


@BOTH_WAYS
async def test_what_waits_can_be_changed_by_hand(
    sides: dict[str, Side], table: Table, one: str
) -> None:
    hand, adder = sides[one], sides[OTHER[one]]
    first, second = [await adder.add("work", {"number": number}) for number in (1, 2)]
    assert await hand.reschedule(first, priority=-3, max_attempts=4, attempts=2) == 1
    assert await hand.fail(first, "why") == 1
    assert await hand.complete(second) == 1
    job = await table.job(first)
    assert job is not None
    assert (job["priority"], job["attempts"], job["max_attempts"]) == (-3, 4, 4)
    assert (job["last_error"], await table.jobs()) == ("why", 1)


@pytest.mark.parametrize("one, is_honoured", [("node", False), ("python", True)])
async def test_zeros_are_honoured_only_here(
    sides: dict[str, Side], table: Table, one: str, is_honoured: bool
) -> None:
    """Behaviour 39: attempts 0 revives what failed for good."""
    job_id = await sides[OTHER[one]].add("work", {"number": 1}, priority=5)
    await table.execute(f"update {JOBS} set attempts = max_attempts")
    assert await sides[one].reschedule(job_id, attempts=0, priority=0) == 1
    job = await table.job(job_id)
    assert job is not None
    assert (job["attempts"], job["priority"]) == ((0, 0) if is_honoured else (25, 5))


async def test_cleaning_up(sides: dict[str, Side], table: Table) -> None:
    """Behaviour 39: what each step of either side takes away."""
    node, utils = sides["node"], WorkerUtils(table.pool)
    assert isinstance(node, Node)

    async def prepare() -> None:
        await table.execute(f"truncate {JOBS}")
        for attempts in (2, 3, 4):
            job_id = await node.add("work", {}, max_attempts=3)
            await table.execute(f"update {JOBS} set attempts = $1 where id = $2", attempts, job_id)
        await node.add("gone", {}, queue_name="gone")
        await table.execute(f"delete from {JOBS} where job_queue_id is not null")

    async def left() -> tuple[Any, ...]:
        row = await table.pool.fetchrow(
            f"select (select array_agg(attempts order by id) from {JOBS}), "
            "exists (select from graphile_worker._private_tasks where identifier = 'gone'), "
            "exists (select from graphile_worker._private_job_queues)"
        )
        assert row is not None
        return tuple(row)

    await prepare()
    await node.utils("cleanup")
    assert await left() == ([2, 3, 4], True, False)
    await prepare()
    await utils.cleanup()
    assert await left() == ([2, 3, 4], True, False)
    await prepare()
    await node.utils("cleanup", {"tasks": ["DELETE_PERMAFAILED_JOBS"]})
    assert await left() == ([2, 4], True, True)
    await prepare()
    await utils.cleanup(["delete_permafailed_jobs"])
    assert await left() == ([2], True, True)
    await prepare()
    await node.utils("cleanup", {})
    assert await left() == ([2, 3, 4], False, False)
    await prepare()
    await utils.cleanup(["gc_task_identifiers", "gc_job_queues"])
    assert await left() == ([2, 3, 4], False, False)


@BOTH_WAYS
async def test_a_pool_of_the_other_side_can_be_unlocked(
    sides: dict[str, Side], table: Table, one: str
) -> None:
    """Behaviours 23 and 26: and when it lives after all, only Node takes what it lost."""
    late, quick = sides[one], sides[OTHER[one]]
    payload = {"number": 1, "hold": "g", "queue": "q"}
    job_id = await late.add("work", payload, queue_name="q")
    pool_id = await late.start(concurrency=1)
    await begun(table, 1)
    other_id = await quick.start()
    await quick.force_unlock(pool_id)
    await begun(table, 1, runs=2)
    held = await table.job(job_id)
    assert held is not None
    assert (held["locked_by"], held["attempts"]) == (other_id, 2)

    await late.open("g")
    if late.name == "node":
        await until(table.is_empty)
    else:
        await late.stop()
        assert await table.job(job_id) == held
    await quick.open("g")
    await until(table.is_empty)
    query = "select count(*) from graphile_worker._private_job_queues where locked_at is not null"
    await until(lambda: _is_zero(table, query))


async def _is_zero(table: Table, query: str) -> bool:
    return bool(await table.pool.fetchval(query) == 0)


@BOTH_WAYS
async def test_stopping_one_side_leaves_the_others_jobs_alone(
    sides: dict[str, Side], table: Table, one: str
) -> None:
    ending, staying = sides[one], sides[OTHER[one]]
    ids: dict[str, int] = {}
    for side in (ending, staying):
        await side.start(side.name, **(BATCHES if side.name == "node" else {}))
        ids[side.name] = await ending.add(side.name, {"number": len(ids), "hold": side.name})
        await begun(table, len(ids) - 1)
    before = await table.job(ids[staying.name])
    stopping = asyncio.create_task(ending.stop())
    await ending.add("work", {"number": 9})  # both are told of it; nobody takes it
    await ending.open(ending.name)
    await stopping
    await until(lambda: _is_gone(table, ids[ending.name]))
    assert await table.job(ids[staying.name]) == before
    await staying.open(staying.name)
    await until(lambda: _is_gone(table, ids[staying.name]))
    assert len(await table.runs()) == 2


async def _is_gone(table: Table, job_id: int) -> bool:
    return await table.job(job_id) is None


NEWER = "insert into graphile_worker.migrations (id, breaking) values (1000000, $1)"
NOTICE = """
select pg_notify('worker:migrate',
    json_build_object('migrationNumber', 1000000, 'breaking', $1::bool)::text)
"""


async def test_a_breaking_migration_stops_both(
    sides: dict[str, Side], table: Table, host: Host
) -> None:
    """Behaviour 12; one that breaks nothing stops nobody."""
    node, python = sides["node"], sides["python"]
    assert isinstance(node, Node)
    assert isinstance(python, Python)
    await node.start("node")
    await python.start("python")
    await table.execute(NOTICE, False)
    for number, name in enumerate(sides):
        await python.add(name, {"number": number})
        await begun(table, number)

    await table.execute(NEWER, True)
    await table.execute(NOTICE, True)

    (workers,) = python.started
    with pytest.raises(SchemaTooNew):
        await asyncio.wait_for(workers.wait(), 20)
    python.started.clear()
    await until(lambda: host.heard("ended", pool=node.started[0]))
    node.started.clear()


FAULT = """
create sequence faults;
create function fail_once() returns trigger language plpgsql as $$
begin
    if nextval('faults') = 1 then
        raise sqlstate '40001' using message = 'try again';
    end if;
    return old;
end $$;
create trigger fault before delete on graphile_worker._private_jobs
    for each row execute function fail_once();
"""


@pytest.mark.parametrize("one, is_done", [("node", False), ("python", True)])
async def test_a_batch_write_that_fails_once_is_tried_again_only_here(
    sides: dict[str, Side], table: Table, host: Host, one: str, is_done: bool
) -> None:
    """Behaviour 30: in Node the first error ends the pool, its job locked."""
    side = sides[one]
    await table.execute(FAULT)
    job_id = await side.add("work", {"number": 1})
    await side.start(**(BATCHES if one == "node" else {}))
    await begun(table, 1)
    if is_done:
        await until(table.is_empty)
        return
    assert isinstance(side, Node)
    await until(lambda: host.heard("ended", pool=side.started[0]))
    side.started.clear()
    job = await table.job(job_id)
    assert job is not None
    assert job["locked_at"] is not None


@BOTH_WAYS
async def test_a_process_that_is_told_to_end_leaves_nothing_locked(
    node: Graphile, table: Table, database_url: str, one: str
) -> None:
    """Behaviour 29: Node does so only with batches of completions, which is not its default."""
    await WorkerUtils(table.pool).add_job("work", {"number": 1, "lock": 1})
    async with table.pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock(1)")
            host, process = await _started(one, node, database_url)
            await begun(table, 1)
            process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, 20)
    if host is not None:
        host.end()
    assert code == (-signal.SIGTERM if one == "node" else 0)
    assert await table.is_empty()


async def _started(
    side: str, node: Graphile, url: str
) -> tuple[Host | None, subprocess.Popen[bytes]]:
    if side == "node":
        host = Host(node.node)
        signals = {"noHandleSignals": False}
        await host.call("start", pool="1", url=url, batched=True, options=signals)
        return host, host.process
    return None, subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-m", "kongtask", "worker", "-c", url, "-t", "work_task.py"],
        cwd=FOLDER, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


async def test_the_release_before_works_beside_us_too(
    table: Table, host: Host, database_url: str, sides: dict[str, Side]
) -> None:
    """Behaviour 1: 0.17.3 knows level 19 and is content with 20."""
    pool, numbers = f"{database_url}/before", list(range(20))
    await host.call("start", pool=pool, url=database_url, package=LEVEL_19)
    await sides["python"].start()
    for number in numbers:
        await host.call(
            "utils", url=database_url, package=LEVEL_19, method="addJob",
            args=["work", {"number": number}, {"jobKey": str(number)}],
        )  # fmt: skip
    await until(table.is_empty)
    await host.call("stop", pool=pool)
    assert sorted(int(row["number"]) for row in await table.runs()) == numbers

"""Others hold rows, snapshots and locks, and writes fail halfway: everybody else's work goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from durable_server import DATABASE, DurableServer
from fault_words import (
    IS_LONG,
    RETURN,
    add,
    all_done,
    connected,
    end_well,
    execute,
    left,
    let_go,
    value,
    working,
)
from steady_load import TELLING, FetchCost, FetchCosts, SteadyLoad
from waiting import until
from worker_processes import HOUR, Runs, Start, now

MINUTES, MINUTE = (10, 60.0) if IS_LONG else (2, 4.0)
RATE = 500
HASTE = 4000
"""Jobs a second, so that as many are dead after seconds as otherwise after a minute."""

TRIGGER = """
    create function trouble() returns trigger language plpgsql as $$
    begin
        if random() < 0.02 then
            raise exception 'could not serialize access' using errcode = '{state}';
        end if;
        return coalesce(new, old);
    end $$;
    create trigger trouble before {what} on graphile_worker._private_jobs
    for each row execute function trouble()"""

REFUSING = """
    create function refuse() returns trigger language plpgsql as $$
    begin
        raise exception 'no';
    end $$;
    create trigger refuse before delete on graphile_worker._private_jobs
    for each row execute function refuse()"""
BACKLOG = 2000
"""Outcomes that a worker keeps at most, about."""

WAITING = """select count(*) = 1 from pg_stat_activity
    where wait_event_type = 'Lock' and datname = current_database()"""


async def test_a_snapshot_that_is_held(
    new_server: Callable[[], DurableServer], start: Start, runs: Runs
) -> None:
    """What is dead stays in the tables, but fetches walk over it now and then only."""
    server = new_server()
    server.start(**TELLING)
    url = server.url(DATABASE)
    workers = [start(url, concurrency=20) for _ in range(2)]
    await working(workers)
    load, costs = SteadyLoad(url), FetchCosts(server, url)

    async def minute(when: str, rate: int = RATE) -> FetchCost:
        late = await load.add(rate, MINUTE)
        cost = await costs.since()
        print(f"{when}, {rate} jobs/s, the last {late:.2f} s late: {cost}")
        if IS_LONG:
            assert late < MINUTE / 10
        return cost

    await minute("warming up")
    before = await minute("no snapshot")
    async with connected(url) as other, other.transaction(isolation="repeatable_read"):
        await other.fetch("select count(*) from graphile_worker._private_jobs")
        if not IS_LONG:
            await minute("many dead", HASTE)
        found = [await minute(f"held, part {number + 1}") for number in range(MINUTES)]
        await until(lambda: value(url, "select not exists (select from graphile_worker.jobs)"))
    if IS_LONG:
        assert max(each.mean for each in found) < 3 * max(before.mean, 0.5)
    part = found[-1] if IS_LONG else min(found, key=lambda each: each.entries)
    assert part.entries < max(2 * before.entries, load.added / 4)
    assert runs.ended() == set(range(load.added))
    assert runs.repeated() == set()
    await end_well(url, workers)


@pytest.mark.parametrize("how", ["for update", "for no key update"])
async def test_a_job_whose_row_somebody_holds_keeps_no_other_back(
    url: str, start: Start, runs: Runs, tmp_path: Path, how: str
) -> None:
    """A transaction that is open for long has touched a running job, as a job key does."""
    worker = start(url, "--poll-interval", HOUR)
    await working([worker])
    await add(url, [1], "hold")
    await until(lambda: runs.of(1) == ["start"])
    async with connected(url) as other, other.transaction():
        await other.fetch(f"select 1 from graphile_worker._private_jobs {how}")
        let_go(tmp_path, 1)
        await until(lambda: runs.of(1) == ["start", "end"])
        await add(url, range(10, 110))
        await until(lambda: runs.ended() >= set(range(10, 110)))

        async def written() -> bool:
            return (await left(url))["jobs"] == 1

        await until(written, 30)
    await all_done(url, runs, [1])
    assert runs.repeated() == set()
    await end_well(url, [worker])


async def test_a_waiting_job_whose_row_somebody_holds_is_left_until_later(
    url: str, start: Start, runs: Runs
) -> None:
    await add(url, [1])
    async with connected(url) as other:
        async with other.transaction():
            await other.fetch("select 1 from graphile_worker._private_jobs for update")
            worker = start(url)
            await working([worker])
            await add(url, range(10, 30))
            await until(lambda: runs.ended() == set(range(10, 30)))
        await until(lambda: runs.of(1) == ["start", "end"], RETURN)
    await end_well(url, [worker])


STATES = ["40001", "40P01", "55P03", "53200"] if IS_LONG else ["40001", "55P03"]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("what", ["delete", "update"])
async def test_writes_that_fail_by_chance(
    url: str, start: Start, runs: Runs, state: str, what: str
) -> None:
    await execute(url, TRIGGER.format(state=state, what=what))
    workers = [start(url, "--poll-interval", HOUR) for _ in range(2)]
    await working(workers)
    await add(url, range(300))
    await all_done(url, runs, range(300))
    assert runs.repeated() == set()
    await execute(url, "drop trigger trouble on graphile_worker._private_jobs")
    await end_well(url, workers)


async def test_a_real_deadlock(
    server: DurableServer, url: str, start: Start, runs: Runs, tmp_path: Path
) -> None:
    await execute(server.url(), "alter system set deadlock_timeout = '300ms'")
    server.reload()  # the worker began to wait first: it is who is told
    worker = start(url, "--poll-interval", HOUR)
    await working([worker])
    rounds = 0
    while "deadlock detected" not in server.said:  # both outcomes have to be written together
        rounds += 1
        assert rounds <= 20
        await _wait_for_each_other(url, runs, tmp_path, 2 * rounds - 1, 2 * rounds)
    assert runs.repeated() == set()
    await end_well(url, [worker])


async def _wait_for_each_other(url: str, runs: Runs, folder: Path, *pair: int) -> None:
    """Lock the rows of two running jobs, the second before their outcomes are written."""
    await add(url, pair, "hold", {"gate": pair[0]})
    await until(lambda: all(runs.of(number) == ["start"] for number in pair))
    lock = "select 1 from graphile_worker._private_jobs where id = $1 for update"
    async with connected(url) as looking, connected(url) as other, other.transaction():
        first, second = [
            row["id"]
            for row in await other.fetch("select id from graphile_worker._private_jobs order by 1")
        ]
        await other.fetch(lock, second)
        let_go(folder, pair[0])
        await until(lambda: looking.fetchval(WAITING))
        await other.fetch(lock, first)
    await all_done(url, runs, pair)


async def test_outcomes_that_cannot_be_written_end_the_fetching(
    url: str, start: Start, runs: Runs
) -> None:
    """A worker keeps what it has done and does not take ever more that it cannot put down."""
    await execute(url, REFUSING)
    worker = start(url, "--poll-interval", "100", concurrency=20)
    await working([worker])
    await add(url, range(3 * BACKLOG), more={"seconds": 0})
    await until(lambda: len(runs.ended()) > BACKLOG / 2)
    done = -1
    while done < len(runs.ended()):  # until nothing was added for a while
        done, since = len(runs.ended()), now()
        await until(lambda: now() - since > 3)  # noqa: B023
    assert done < 2 * BACKLOG
    await execute(url, "drop trigger refuse on graphile_worker._private_jobs")
    await all_done(url, runs, range(3 * BACKLOG))
    assert runs.repeated() == set()
    await end_well(url, [worker])

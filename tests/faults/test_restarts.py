"""The server ends and comes back: work waits, outcomes are kept, nobody runs anything twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from durable_server import DurableServer, Stop
from fault_words import (
    IS_LONG,
    RETURN,
    add,
    all_done,
    end_well,
    let_go,
    listening,
    ready,
    resumed,
    told,
    working,
)
from waiting import until
from worker_processes import HOUR, Runs, Start, now

STOPS: list[Stop] = ["fast", "immediate", "kill"] if IS_LONG else ["fast", "kill"]
AWAY = 30.0 if IS_LONG else 1.0
JOBS = 3000 if IS_LONG else 2000
HELD = 100_000


@pytest.mark.parametrize("how", STOPS)
async def test_work_goes_on_after_a_restart(
    server: DurableServer, url: str, start: Start, runs: Runs, tmp_path: Path, how: Stop
) -> None:
    workers = [start(url, "--poll-interval", HOUR) for _ in range(2)]
    await working(workers)
    await add(url, [HELD], "hold")
    await until(lambda: runs.of(HELD) == ["start"])
    await add(url, range(JOBS))
    await until(lambda: len(runs.ended()) > 300)

    await asyncio.to_thread(server.stop, how)
    await ready(workers, is_ready=False)
    let_go(tmp_path, HELD)  # its outcome has to wait
    await until(lambda: runs.of(HELD) == ["start", "end"])
    assert [each.probe("/livez") for each in workers] == [(200, "ok\n")] * 2
    for each in workers:
        _, reason = each.probe("/readyz")
        assert "PostgreSQL" in reason or "connection" in reason, reason
    gone = now()
    await until(lambda: now() - gone > AWAY, AWAY + 1)

    await asyncio.to_thread(server.start)
    back = now()
    await resumed(runs, workers, back)
    await listening(url, 2, back)
    await ready(workers)
    await all_done(url, runs, [HELD, *range(JOBS)])
    await add(url, [HELD + 1])
    await until(lambda: runs.of(HELD + 1) == ["start", "end"], RETURN)
    assert runs.repeated() == set()
    await told(workers)
    await end_well(url, workers)


async def test_jobs_added_while_nobody_listened_are_found(
    server: DurableServer, url: str, start: Start, runs: Runs
) -> None:
    """The worker polls once an hour: it must look when it listens again."""
    worker = start(url, "--poll-interval", HOUR)
    await working([worker])
    numbers = range(10 if IS_LONG else 3)
    for number in numbers:
        await asyncio.to_thread(server.stop, "immediate")
        await asyncio.to_thread(server.start)
        await add(url, [number])
        await until(lambda: runs.of(number) == ["start", "end"], RETURN)  # noqa: B023
    await all_done(url, runs, numbers)
    await end_well(url, [worker])

"""Connections are ended, refused, and swallowed: nothing is lost, and nobody storms the server."""

from __future__ import annotations

from contextlib import AsyncExitStack
from itertools import pairwise

import asyncpg
from durable_server import DATABASE, DurableServer
from fault_words import (
    IS_LONG,
    RETURN,
    add,
    all_done,
    connected,
    end_well,
    kill_backends,
    listening,
    ready,
    resumed,
    told,
    working,
)
from network import NEEDS_IPTABLES, cut
from proxy import proxy
from waiting import until
from worker_processes import HOUR, Runs, Start, now

KILLS = 30 if IS_LONG else 8
CUTS = [2.0, 8.0, 30.0] if IS_LONG else [8.0]
AWAY = 30.0 if IS_LONG else 6.0
END_WORKERS = """select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'kongtask' and backend_type = 'client backend'"""
KNOCKS = 3.0
"""Attempts to connect a second, of one worker process, that a server in trouble can bear."""


async def test_killing_every_connection_again_and_again(url: str, start: Start, runs: Runs) -> None:
    jobs = KILLS * 150
    workers = [start(url, "--poll-interval", HOUR) for _ in range(2)]
    await working(workers)
    await add(url, range(jobs))
    for kill in range(1, KILLS):
        await until(lambda: len(runs.ended()) >= kill * 100)  # noqa: B023
        await until(lambda: kill_backends(url))  # a worker may just be coming back
    killed = now()
    await listening(url, 2, killed)
    await all_done(url, runs, range(jobs))
    assert runs.repeated() == set()
    await end_well(url, workers)


async def test_no_room_for_connections(
    server: DurableServer, url: str, start: Start, runs: Runs
) -> None:
    workers = [start(url, "--poll-interval", HOUR) for _ in range(2)]
    await working(workers)
    await add(url, range(2000))
    await until(lambda: len(runs.ended()) > 100)
    async with AsyncExitStack() as others:
        taken = await _take_all(others, server.url())
        await ready(workers, is_ready=False)
        assert taken > 30
        for each in workers:
            await until(lambda: "too many clients" in each.probe("/readyz")[1])  # noqa: B023
            assert each.probe("/livez")[0] == 200
    back = now()
    await resumed(runs, workers, back)
    await listening(url, 2, back)
    await all_done(url, runs, range(2000))
    assert runs.repeated() == set()
    await end_well(url, workers)


async def _take_all(others: AsyncExitStack, url: str) -> int:
    """Take every connection that there is, and those that the workers had."""
    admin = await others.enter_async_context(connected(url))
    taken, refusals = 0, 0
    while refusals < 10:
        try:
            await others.enter_async_context(connected(url))
            taken, refusals = taken + 1, 0
        except asyncpg.TooManyConnectionsError:
            refusals = 0 if await admin.fetch(END_WORKERS) else refusals + 1
    return taken


async def test_attempts_to_connect_are_few_and_apart(
    server: DurableServer, url: str, start: Start, runs: Runs
) -> None:
    """However often the workers would poll."""
    async with proxy(server.port) as door:
        workers = [start(server.url(DATABASE, door.port), "--poll-interval", "10") for _ in "ab"]
        await working(workers)
        await add(url, range(10))
        await all_done(url, runs, range(10))
        door.target = None
        door.cut()
        gone = now()
        await ready(workers, is_ready=False)
        await until(lambda: now() - gone > AWAY, AWAY + 1)
        away = now() - gone
        knocks = [at for at in door.knocks if at > gone]
        door.target = server.port
        back = now()
        await add(url, range(10, 1010))
        await resumed(runs, workers, back)
        await listening(url, 2, back)
        await all_done(url, runs, range(1010))
        assert len(knocks) < away * KNOCKS * len(workers), len(knocks)
        steady = [at for at in knocks if at > gone + 2]
        pauses = {round(after - before, 2) for before, after in pairwise(steady)}
        assert len(pauses) > len(steady) / 4, pauses  # jitter: they do not come in step
        await end_well(url, workers)


@NEEDS_IPTABLES
async def test_a_network_that_swallows_packets(
    server: DurableServer, url: str, start: Start, runs: Runs
) -> None:
    first = 0
    workers = [start(url, "--poll-interval", HOUR) for _ in range(2)]
    await working(workers)
    for seconds in CUTS:
        jobs = range(first, first + 1500)
        first += 1500
        await add(url, jobs)
        await until(lambda: len(runs.ended() & set(jobs)) > 100)  # noqa: B023
        with cut(server.port):
            gone = now()
            if seconds > 6:
                await ready(workers, is_ready=False)
            await until(lambda: now() - gone > seconds, seconds + 5)  # noqa: B023
            assert [each.probe("/livez")[0] for each in workers] == [200, 200]
        back = now()
        await resumed(runs, workers, back)
        await listening(url, 2, back)
        await all_done(url, runs, jobs)
        assert runs.repeated() == set()
        await ready(workers)  # the outage is over for the heart as well
    await told(workers, len([seconds for seconds in CUTS if seconds > 6]))
    await end_well(url, workers)


@NEEDS_IPTABLES
async def test_an_idle_worker_notices_that_nobody_can_tell_it_of_jobs(
    server: DurableServer, url: str, start: Start, runs: Runs
) -> None:
    """Its LISTEN connection is gone on the server's side, and no packet ever said so."""
    worker = start(url, "--poll-interval", HOUR)
    await working([worker])
    await listening(url, 1, now())
    with cut(server.port):
        await ready([worker], is_ready=False)
    back = now()
    await add(url, [1])
    await until(lambda: runs.of(1) == ["start", "end"], RETURN)
    await listening(url, 1, back)
    await end_well(url, [worker])

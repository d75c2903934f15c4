"""Another server takes over behind the same address, or the server stops taking writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from durable_server import DATABASE, DurableServer
from fault_words import (
    IS_LONG,
    RETURN,
    add,
    all_done,
    connected,
    end_well,
    listening,
    ready,
    resumed,
    told,
    value,
    working,
)
from proxy import proxy
from waiting import until
from worker_processes import HOUR, Runs, Start, now

AWAY = 20.0 if IS_LONG else 4.0
JOBS = 3000 if IS_LONG else 2000
BEHIND = """select count(*) = 1 from pg_stat_replication where replay_lsn = pg_current_wal_lsn()"""

New = Callable[[], DurableServer]


async def test_a_server_that_takes_no_writes_for_a_while(
    server: DurableServer, url: str, start: Start, runs: Runs
) -> None:
    workers = [start(url, "--poll-interval", HOUR) for _ in range(2)]
    await working(workers)
    await add(url, range(JOBS))
    await until(lambda: len(runs.ended()) > 100)
    await _take_no_writes(server)
    await ready(workers, is_ready=False)
    for each in workers:
        assert "takes no writes" in each.probe("/readyz")[1]
        assert each.probe("/livez")[0] == 200
    gone = now()
    await until(lambda: now() - gone > AWAY, AWAY + 1)
    await _take_no_writes(server, "off")
    back = now()
    await resumed(runs, workers, back)
    await listening(url, 2, back)
    await all_done(url, runs, range(JOBS))
    assert runs.repeated() == set()
    await told(workers)
    await end_well(url, workers)


@pytest.mark.parametrize("old", ["is gone", "stays and takes no writes"])
async def test_a_standby_takes_over(new_server: New, start: Start, runs: Runs, old: str) -> None:
    """Nothing is lost because commits wait for the standby: that is the database's promise."""
    primary, standby = new_server(), new_server()
    primary.start(synchronous_standby_names="*")
    _follow(standby, primary)
    async with proxy(primary.port) as door:
        url = primary.url(DATABASE, door.port)
        workers = [start(url, "--poll-interval", HOUR) for _ in range(2)]
        await working(workers)
        await add(url, range(JOBS))
        await until(lambda: len(runs.ended()) > 100)
        if old == "is gone":
            door.target = None
            await asyncio.to_thread(primary.stop, "immediate")
        else:
            await _take_no_writes(primary)
            await until(lambda: value(primary.url(), BEHIND))
        await asyncio.to_thread(standby.promote)
        door.target = standby.port  # nobody ends the connections to the old one
        back = now()
        await resumed(runs, workers, back)
        await listening(standby.url(DATABASE), 2, back)
        await all_done(standby.url(DATABASE), runs, range(JOBS))
        await add(url, [JOBS])
        await until(lambda: runs.of(JOBS) == ["start", "end"], RETURN)
        assert runs.repeated() == set()
        await end_well(url, workers)


async def test_two_servers_in_the_url(new_server: New, start: Start, runs: Runs) -> None:
    """Nothing but the URL leads from the old primary to the new one."""
    primary, standby = new_server(), new_server()
    primary.start(synchronous_standby_names="*")
    _follow(standby, primary)
    both = f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
    url = primary.url(DATABASE).replace(f"127.0.0.1:{primary.port}", both)
    worker = start(f"{url}?target_session_attrs=read-write", "--poll-interval", HOUR)
    await working([worker])
    await add(primary.url(DATABASE), range(JOBS))
    await until(lambda: len(runs.ended()) > 100)
    await asyncio.to_thread(primary.stop, "immediate")
    await asyncio.to_thread(standby.promote)
    back = now()
    await resumed(runs, [worker], back)
    await listening(standby.url(DATABASE), 1, back)
    await all_done(standby.url(DATABASE), runs, range(JOBS))
    assert runs.repeated() == set()
    await told([worker])
    await end_well(standby.url(DATABASE), [worker])


async def test_a_standby_behind_the_address_is_waited_for(
    new_server: New, start: Start, runs: Runs
) -> None:
    """The address leads to a server in recovery until that is promoted."""
    primary, standby = new_server(), new_server()
    primary.start()
    _follow(standby, primary)
    async with proxy(primary.port) as door:
        worker = start(primary.url(DATABASE, door.port), "--poll-interval", HOUR)
        await working([worker])
        await until(lambda: value(primary.url(), BEHIND))
        await asyncio.to_thread(primary.stop)
        door.target = standby.port
        await ready([worker], is_ready=False)
        await until(lambda: "takes no writes" in worker.probe("/readyz")[1])
        await asyncio.to_thread(standby.promote)
        back = now()
        await add(standby.url(DATABASE), [1])
        await until(lambda: runs.of(1) == ["start", "end"], RETURN)
        await listening(standby.url(DATABASE), 1, back)
        await told([worker])
        await end_well(standby.url(DATABASE), [worker])


def _follow(standby: DurableServer, primary: DurableServer) -> None:
    """Start a server as the standby of another, whose copy it is."""
    (standby.data / "standby.signal").touch()
    standby.start(primary_conninfo=primary.url(), wal_retrieve_retry_interval="100ms")


async def _take_no_writes(server: DurableServer, value: str = "on") -> None:
    async with connected(server.url()) as admin:
        await admin.execute("set default_transaction_read_only = off")
        await admin.execute(f"alter system set default_transaction_read_only = {value}")
    server.reload()

"""What the operator reads of a real database, and how it hears of new jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from operator_words import LOCKER

from kongtask.clock import Clock
from kongtask.errors import ConfigurationError, StoreUnavailable
from kongtask.operator.model import jobs_of_pod
from kongtask.postgres.queue_state import read_queue
from kongtask.postgres.queue_watcher import QueueWatcher, reconnect_delay
from kongtask.postgres.statements import DEFAULT_SCHEMA

JOBS = f"{DEFAULT_SCHEMA}._private_jobs"
QUEUES = f"{DEFAULT_SCHEMA}._private_job_queues"
PATIENCE = 10


class HastyClock(Clock):
    """A clock that does not sleep."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def add(session: Any, count: int, columns: str = "", values: str = "") -> None:
    await session.execute(
        f"insert into {JOBS} (task_id{columns}) select 1{values} from generate_series(1, {count}) n"
    )


async def test_an_empty_queue(session: Any) -> None:
    state = await read_queue(session, DEFAULT_SCHEMA, 100)

    assert (state.ready, state.ready_capped, state.running) == (0, False, 0)
    assert (state.next_run_at, state.read_only) == (None, False)


async def test_only_jobs_that_could_run_now_are_ready(session: Any) -> None:
    await add(session, 3)
    await add(session, 2, ", priority", ", n")
    await add(session, 4, ", run_at", ", now() + interval '1 hour'")
    await add(session, 5, ", attempts, max_attempts", ", 3, 3")

    assert (await read_queue(session, DEFAULT_SCHEMA, 100)).ready == 5


async def test_counting_stops_at_the_cap(session: Any) -> None:
    await add(session, 30, ", priority", ", n % 3")

    capped = await read_queue(session, DEFAULT_SCHEMA, 20)
    whole = await read_queue(session, DEFAULT_SCHEMA, 31)

    assert (capped.ready, capped.ready_capped) == (20, True)
    assert (whole.ready, whole.ready_capped) == (30, False)


async def test_a_named_queue_counts_as_one_and_not_at_all_while_it_works(session: Any) -> None:
    await session.execute(
        f"insert into {QUEUES} (queue_name, locked_at) values ('free', null), ('busy', now())"
    )
    await session.execute(
        f"insert into {JOBS} (task_id, job_queue_id) "
        f"select 1, id from {QUEUES}, generate_series(1, 10)"
    )
    await add(session, 2)

    assert (await read_queue(session, DEFAULT_SCHEMA, 100)).ready == 3


async def test_the_next_job_is_the_earliest_of_all_priorities(session: Any) -> None:
    await add(session, 3, ", priority, run_at", ", n, now() + interval '1 hour' * (4 - n)")

    state = await read_queue(session, DEFAULT_SCHEMA, 100)

    assert state.next_run_at is not None
    assert 3500 < (state.next_run_at - state.now).total_seconds() <= 3600


async def test_running_jobs_are_counted_by_who_runs_them(session: Any) -> None:
    locker = f"pool-mail-6f-x2-{LOCKER}"
    await add(session, 3, ", locked_at, locked_by", f", now(), '{locker}'")
    await add(session, 1, ", locked_at, locked_by", ", now(), 'pool-00112233445566778899aabb'")

    state = await read_queue(session, DEFAULT_SCHEMA, 100)

    assert state.running == 4
    assert jobs_of_pod("mail-6f-x2", state.locked_by) == 3
    assert jobs_of_pod("mail-6f", state.locked_by) == 0


async def test_jobs_of_tasks_that_the_workers_do_not_know_do_not_count(session: Any) -> None:
    await session.execute(
        f"select {DEFAULT_SCHEMA}.add_job(task, queue_name => queue) "
        "from (values ('mail', null), ('mial', null), ('mial', 'q'), ('report', 'r')) jobs "
        "(task, queue)"
    )

    everything = await read_queue(session, DEFAULT_SCHEMA, 100)
    known = await read_queue(session, DEFAULT_SCHEMA, 100, ["mail", "report", "other"])
    nothing = await read_queue(session, DEFAULT_SCHEMA, 100, ["other"])

    assert (everything.ready, everything.unknown_tasks) == (4, ())
    assert (known.ready, known.unknown_tasks) == (2, ("mial",))
    assert (nothing.ready, nothing.unknown_tasks) == (0, ("mail", "mial", "report"))


async def test_workers_that_live_tell_their_tasks(session: Any) -> None:
    await session.execute(
        f"insert into {DEFAULT_SCHEMA}._kongtask_pools (pool_id, host, concurrency, tasks, "
        "heartbeat_at) values ('a', 'mail-1', 1, '{mail}', now()), "
        "('b', 'mail-2', 1, '{old}', now() - interval '2 minutes')"
    )

    assert (await read_queue(session, DEFAULT_SCHEMA, 100)).announced == {"mail-1": ("mail",)}


async def test_a_schema_without_tables_names_the_way_out(session: Any) -> None:
    with pytest.raises(ConfigurationError, match="kongtask migrate -s nowhere"):
        await read_queue(session, "nowhere", 100)


async def test_counting_uses_no_scan_of_the_whole_table(session: Any) -> None:
    await add(session, 20_000, ", priority, run_at", ", n % 5, now() + interval '1 day'")
    await session.execute(f"analyze {JOBS}")

    async with session.transaction():
        await read_queue(session, DEFAULT_SCHEMA, 100)
        counted = await scans(session)
        await session.execute(f"select count(payload::text) from {JOBS}")

        assert await scans(session) == counted + 1
    assert counted == 0


async def scans(session: Any) -> int:
    """How often this transaction has read the whole table of jobs."""
    return int(
        await session.fetchval(
            "select seq_scan from pg_stat_xact_user_tables where schemaname = $1 and relname = $2",
            DEFAULT_SCHEMA,
            "_private_jobs",
        )
    )


class Watch:
    """A watcher that runs, and what it told."""

    def __init__(self, url: str) -> None:
        self.heard = asyncio.Event()
        self.watcher = QueueWatcher(url, on_jobs=self.heard.set, clock=HastyClock())
        self.task = asyncio.create_task(self.watcher.run())

    async def hears(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.heard.wait()
        self.heard.clear()

    async def end(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@pytest.fixture
async def watch(database_url: str) -> AsyncIterator[Watch]:
    watch = Watch(database_url)
    await watch.hears()
    yield watch
    await watch.end()


async def test_added_jobs_are_heard_of(watch: Watch, session: Any) -> None:
    await session.execute("""select pg_notify('jobs:insert', '{"r": 1, "count": 2}')""")

    await watch.hears()


async def test_a_lost_connection_is_made_again_and_the_silence_between_is_made_up_for(
    watch: Watch, session: Any
) -> None:
    async with watch.watcher.borrowed() as lent:
        pid = await lent.fetchval("select pg_backend_pid()")
    await session.fetchval("select pg_terminate_backend($1)", pid)

    await watch.hears()
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StoreUnavailable):
                async with watch.watcher.borrowed() as lent:
                    assert await lent.fetchval("select pg_backend_pid()") != pid
                    break
            await watch.hears()


async def test_borrowing_from_a_database_that_is_away_says_so() -> None:
    away = Watch("postgres://me:hunter2@127.0.0.1:9/none")

    with pytest.raises(StoreUnavailable) as refused:
        async with away.watcher.borrowed():
            raise AssertionError("nothing can be lent")

    await away.end()
    assert "127.0.0.1:9" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("option", ["connect_timeout=10", "bogus=1", "client_encoding=none"])
async def test_an_option_that_the_server_refuses_is_said_and_nobody_waits_for_ever(
    database_url: str, option: str
) -> None:
    refused = Watch(f"{database_url}?{option}")

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ConfigurationError, match="check the options after the"):
            async with refused.watcher.borrowed():
                raise AssertionError("nothing can be lent")

    await refused.end()


def test_attempts_to_connect_become_rarer_up_to_half_a_minute() -> None:
    delays = [reconnect_delay(failures) for failures in range(1, 12)]

    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (0.5, 30.0)

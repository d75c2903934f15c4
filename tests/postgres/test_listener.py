"""The listener tells at once, comes back after a loss, and leaves its pool as it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until

from kongtask import WorkerUtils
from kongtask.clock import Clock
from kongtask.postgres import listener
from kongtask.postgres.listener import LONGEST_DELAY, Listener, added_count, reconnect_delay

Pool: TypeAlias = "asyncpg.Pool[Any]"


@dataclass
class Heard:
    """What a listener told."""

    jobs: list[int] = field(default_factory=list)
    migrations: list[bool] = field(default_factory=list)
    states: list[str | None] = field(default_factory=list)
    cancelled: list[set[int]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)


@asynccontextmanager
async def listening(pool: Pool) -> AsyncIterator[Heard]:
    heard = Heard()
    told = Listener(
        pool, on_jobs=heard.jobs.append, on_migration=heard.migrations.append,
        on_cancel=lambda _, job_ids: heard.cancelled.append(job_ids),
        on_state=heard.states.append, clock=Clock(),
    )  # fmt: skip
    asyncio.get_running_loop().set_exception_handler(lambda _, error: heard.errors.append(error))
    running = asyncio.create_task(told.run())
    try:
        await until(lambda: heard.states)
        yield heard
    finally:
        running.cancel()
        [end] = await asyncio.gather(running, return_exceptions=True)
        assert isinstance(end, asyncio.CancelledError)


async def test_added_jobs_are_told_once_at_the_start_and_then_as_they_come(pool: Pool) -> None:
    async with listening(pool) as heard:
        assert (heard.states, heard.jobs) == ([None], [1])
        await WorkerUtils(pool).add_job("t")
        await until(lambda: len(heard.jobs) == 2)
        await WorkerUtils(pool).add_jobs([("t", n, None) for n in range(5)])
        await until(lambda: sum(heard.jobs) == 7)
    assert pool.get_idle_size() == pool.get_size()


async def test_a_lost_connection_is_made_again_and_told_both_times(
    pool: Pool, database_url: str
) -> None:
    admin = await asyncpg.connect(database_url)
    async with listening(pool) as heard:
        for times in range(1, 4):
            await admin.fetch(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where query like 'LISTEN%' and datname = current_database()"
            )
            await until(lambda: len(heard.states) == 1 + 2 * times)  # noqa: B023
        assert [state is None for state in heard.states] == [True, False] * 3 + [True]
        assert heard.jobs == [1] * 4
        await WorkerUtils(pool).add_job("t")
        await until(lambda: len(heard.jobs) == 5)
    await admin.close()


async def test_a_connection_that_does_not_fall_silent_in_time_is_ended(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each word takes 0.4 s, three are too many; asyncpg would warn of who listens still."""
    monkeypatch.setattr(listener, "LAST_WORD", 0)
    async with listening(pool):
        pass
    await until(lambda: pool.get_idle_size() == pool.get_size())
    assert await pool.fetchval("select 1") == 1


async def test_a_server_that_refuses_is_asked_again(pool: Pool) -> None:
    """A standby takes no LISTEN: that is no reason for the pool of workers to end."""

    class Refusing:
        refusals = 2

        async def acquire(self, *, timeout: float) -> Any:
            if self.refusals:
                self.refusals -= 1
                raise asyncpg.ReadOnlySQLTransactionError("cannot execute LISTEN during recovery")
            return await pool.acquire(timeout=timeout)

        def __getattr__(self, name: str) -> Any:
            return getattr(pool, name)

    refusing: Any = Refusing()
    async with listening(refusing) as heard:
        await until(lambda: len(heard.states) == 3)
        assert heard.states == ["cannot execute LISTEN during recovery"] * 2 + [None]


@pytest.mark.parametrize(
    "payload, breaking",
    [('{"breaking": true}', True), ('{"breaking": false}', False), ("{}", False), ("", False),
     ("[true]", False), ("{", False), ("[" * 7000, False)],
)  # fmt: skip
async def test_migrations_are_told_with_whether_they_break(
    pool: Pool, payload: str, breaking: bool
) -> None:
    async with listening(pool) as heard:
        await pool.execute("select pg_notify('worker:migrate', $1)", payload)
        await until(lambda: heard.migrations)
        assert heard.migrations == [breaking]


@pytest.mark.parametrize(
    "payload, count",
    [('{"r": 1, "count": 7}', 7), ('{"count": -1}', 0), ('{"count": 0}', 0), ("", 1), ("x", 1),
     ("[]", 1), ("null", 1), ('{"count": null}', 1), ('{"count": "2"}', 2), ('{"count": {}}', 1),
     ('{"count": Infinity}', 1), ("[" * 7000, 1)],
)  # fmt: skip
def test_a_notification_counts_jobs_or_one(payload: str, count: int) -> None:
    assert added_count(payload) == count


@pytest.mark.parametrize(
    "payload",
    ["", "{", "[]", '{"pool": "other"}', '{"pool": "other", "ids": [Infinity]}', "[" * 7000],
)
async def test_a_cancellation_that_nobody_can_read_cancels_nothing(
    pool: Pool, payload: str
) -> None:
    async with listening(pool) as heard:
        await pool.execute("select pg_notify('kongtask:cancel', $1)", payload)
        await pool.execute("select pg_notify('worker:migrate', '{}')")
        await until(lambda: heard.migrations)
        assert heard.cancelled == []
        assert heard.errors == []


def test_the_delay_grows_and_is_bounded() -> None:
    delays = [reconnect_delay(attempt, 1.0) for attempt in (1, 2, 5, 8, 1000, 10**9)]
    assert delays == sorted(delays)
    assert 0.1 < delays[0] < 0.2
    assert delays[-1] == LONGEST_DELAY


async def test_a_connection_that_breaks_while_it_is_given_back_is_no_trouble(
    pool: Pool, database_url: str, recwarn: pytest.WarningsRecorder
) -> None:
    admin = await asyncpg.connect(database_url)
    for _ in range(20):
        async with listening(pool):
            await admin.fetch(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where query like 'LISTEN%' and datname = current_database()"
            )
    await admin.close()
    assert not recwarn.list
    assert pool.get_idle_size() == pool.get_size()

"""Which crontab of a pool is followed, and what is due by the database's clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from typing import Any

import asyncpg
import pytest
from operator_words import KEY, pool, spec

from kongtask.core.cron.crontab import parse_crontab
from kongtask.core.cron.schedule import next_tick
from kongtask.operator.crontabs import Crontabs
from kongtask.postgres.crontabs import CrontabStore
from kongtask.postgres.queue_watcher import single_connection_pool


def test_a_pool_without_a_crontab_has_no_items() -> None:
    state = Crontabs().state(pool())

    assert (state.entries, state.problem) == (0, None)


def test_a_mistake_is_named_and_the_crontab_before_it_followed_on() -> None:
    crontabs = Crontabs()
    crontabs.state(pool(spec(crontab="0 4 * * * clean\n0 5 * * * report")))

    state = crontabs.state(pool(spec(crontab="61 * * * * clean")))

    assert state.entries == 2
    assert state.problem is not None
    assert state.problem.reason == "ParseError"
    assert "line 1, column 1: minute 61 is out of range" in state.problem.message


def test_a_corrected_crontab_is_followed() -> None:
    crontabs = Crontabs()
    crontabs.state(pool(spec(crontab="61 * * * * clean")))

    state = crontabs.state(pool(spec(crontab="0 4 * * * clean")))

    assert (state.entries, state.problem) == (1, None)


def test_a_pool_that_is_gone_leaves_no_crontab_behind() -> None:
    crontabs = Crontabs()
    crontabs.state(pool(spec(crontab="0 4 * * * clean")))
    crontabs.forget(KEY)

    assert crontabs.state(pool(spec(crontab="61 * * * * clean"))).entries == 0


MINUTE = timedelta(minutes=1)
KNOWN = "graphile_worker._private_known_crontabs"


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def known(session: Any, identifier: str, ago: timedelta) -> None:
    await session.execute(
        f"insert into {KNOWN} values ($1, now() - $2::interval, now() - $2)", identifier, ago
    )


@pytest.mark.parametrize("wrong", [timedelta(0), 9 * MINUTE, -9 * MINUTE], ids=str)
async def test_the_databases_clock_says_what_is_due(session: Any, wrong: timedelta) -> None:
    crontab = "* * * * * clean\n0 0 1 1 * report"
    await known(session, "clean", 30 * MINUTE)
    now = await session.fetchval("select clock_timestamp()")

    state = await Crontabs().observe(session, pool(spec(crontab=crontab)), now + wrong)

    moments = [tick.timestamp for tick in state.due]
    assert [tick.items[0].task for tick in state.due] in (["clean"], ["clean"] * 2)
    assert all(now - 2 * MINUTE < moment <= now + MINUTE for moment in moments)
    assert state.next_at is not None
    assert timedelta(0) < state.next_at - (now + wrong) <= MINUTE
    registered = await session.fetchval(f"select known_since from {KNOWN} where identifier = $1",
                                        "report")  # fmt: skip
    assert timedelta(0) <= registered - now < MINUTE


async def test_a_jobs_minute_that_has_passed_is_late(session: Any) -> None:
    await known(session, "clean", 30 * MINUTE)
    now = await session.fetchval("select clock_timestamp()")
    state = await Crontabs().observe(session, pool(spec(crontab="* * * * * clean")), now)
    current = (await session.fetchval("select clock_timestamp()")).replace(second=0, microsecond=0)
    assert all(tick.late for tick in state.due if tick.timestamp < current - MINUTE)
    assert not state.due[-1].late


async def test_a_paused_job_is_neither_due_nor_next(session: Any) -> None:
    store = CrontabStore(single_connection_pool(session), "graphile_worker")
    crontab = "* * * * * clean ?fill=1d\n0 0 1 1 * report"
    await known(session, "clean", 30 * MINUTE)
    await known(session, "report", 30 * MINUTE)
    assert await store.pause("clean")
    now = await session.fetchval("select clock_timestamp()")

    state = await Crontabs().observe(session, pool(spec(crontab=crontab)), now)

    assert (state.entries, state.due) == (2, ())
    assert state.next_at == next_tick(parse_crontab("0 0 1 1 * report")[0], now)
    assert await store.resume("clean")


async def test_a_crontabs_zones_are_kept_to(session: Any) -> None:
    now = await session.fetchval("select clock_timestamp()")
    crontab = "0 4 * * * clean ?tz=Pacific/Kiritimati"
    state = await Crontabs().observe(session, pool(spec(crontab=crontab)), now)
    assert state.next_at is not None
    assert (state.next_at.astimezone(UTC).hour, state.next_at.minute) == (14, 0)
    assert state.next_at - now <= timedelta(days=1)

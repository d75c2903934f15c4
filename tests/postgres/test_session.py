"""A session keeps one connection for as long as it works, and never keeps a broken one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import asyncpg
import pytest

from kongtask import ConfigurationError, StoreUnavailable
from kongtask.postgres import session as session_module
from kongtask.postgres.session import Session

Pool: TypeAlias = "asyncpg.Pool[Any]"
PID = "select pg_backend_pid() as pid"
OPENING = ("select set_config('kongtask.opened', $1::text, false)", "yes")
OPENED = "select coalesce(current_setting('kongtask.opened', true), '') as opened"


@pytest.fixture
async def small(database_url: str) -> AsyncIterator[Pool]:
    """A pool of two connections, so that one that is lost is missed."""
    pool = await asyncpg.create_pool(database_url, min_size=1, max_size=2)
    yield pool
    await asyncio.wait_for(pool.close(), 10)


async def pid(session: Session) -> int:
    found = (await session.fetch(PID))[0]["pid"]
    assert isinstance(found, int)
    return found


async def test_statements_go_over_one_connection_one_after_the_other(small: Pool) -> None:
    session = Session(small, "s")
    assert len(set(await asyncio.gather(*(pid(session) for _ in range(10))))) == 1
    await session.close()
    await session.close()
    assert small.get_idle_size() == small.get_size()


async def test_each_connection_begins_with_the_opening(small: Pool, pool: Pool) -> None:
    session = Session(small, "s", OPENING)
    first = await pid(session)
    assert (await session.fetch(OPENED))[0]["opened"] == "yes"
    for _ in range(4):
        await pool.execute("select pg_terminate_backend($1)", await pid(session))
        with pytest.raises(StoreUnavailable, match="was lost"):
            await session.fetch(PID)
        assert (await session.fetch(OPENED))[0]["opened"] == "yes"
    assert await pid(session) != first
    await session.close()


async def test_an_opening_that_fails_leaves_no_connection_behind(small: Pool) -> None:
    session = Session(small, "s", ("select broken",))
    for _ in range(5):
        with pytest.raises(ConfigurationError):
            await session.fetch(PID)
    assert small.get_idle_size() == small.get_size()


async def test_a_cancelled_statement_leaves_the_session_usable(small: Pool) -> None:
    session = Session(small, "s")
    before = await pid(session)
    slow = asyncio.create_task(session.fetch("select pg_sleep(30)"))
    await asyncio.sleep(0)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert await asyncio.wait_for(pid(session), 10) in (before, await pid(session))
    await session.close()


async def test_an_answer_that_never_comes_is_given_up(
    small: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "STATEMENT_LIMIT", 0.2)
    session = Session(small, "s")
    with pytest.raises(StoreUnavailable):
        await session.fetch("select pg_sleep(30)")
    monkeypatch.setattr(session_module, "STATEMENT_LIMIT", 10)
    assert await pid(session)
    await session.close()


@pytest.mark.parametrize("state", ["40001", "40P01", "53100", "55P03", "58030"])
async def test_trouble_that_passes_is_no_fault_of_the_statement(small: Pool, state: str) -> None:
    session = Session(small, "s")
    raising = f"do $$ begin raise exception 'trouble' using errcode = '{state}'; end $$"
    with pytest.raises(StoreUnavailable, match="cannot do this now: trouble"):
        await session.fetch(raising)
    assert await pid(session)
    await session.close()


async def test_a_missing_table_names_the_way_out(small: Pool) -> None:
    session = Session(small, "odd schema")
    with pytest.raises(ConfigurationError, match="run `kongtask migrate -s "):
        await session.fetch("select * from nothing_here")
    await session.close()

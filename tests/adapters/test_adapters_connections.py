"""Which connections the adapters take, and that nobody needs a library that is not used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import asyncpg
import psycopg
import pytest
import sqlalchemy
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import scoped_session, sessionmaker

from kongtask.adapters import psycopg as kongtask_psycopg
from kongtask.adapters import sqlalchemy as kongtask_sqlalchemy
from kongtask.errors import ConfigurationError, StoreUnavailable

Pool: TypeAlias = "asyncpg.Pool[Any]"

UNUSED = """
import sys
import kongtask.adapters.door, kongtask.adapters.json_rows, kongtask.cli
print(sorted({"django", "psycopg", "sqlalchemy"} & set(sys.modules)))
"""


def test_no_library_is_loaded_that_is_not_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", UNUSED], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


async def count(pool: Pool) -> int:
    found: int = await pool.fetchval("select count(*) from graphile_worker.jobs")
    return found


async def test_a_scoped_session_is_the_session_of_its_scope(database_url: str, pool: Pool) -> None:
    engine = sqlalchemy.create_engine(database_url.replace("postgresql", "postgresql+psycopg"))
    session = scoped_session(sessionmaker(engine))
    kongtask_sqlalchemy.add_job(session, "mail")
    session.rollback()
    kongtask_sqlalchemy.add_job(session, "mail")
    assert await count(pool) == 0
    session.commit()
    session.remove()
    engine.dispose()

    assert await count(pool) == 1


async def test_an_async_scoped_session_too(database_url: str, pool: Pool) -> None:
    engine = create_async_engine(database_url.replace("postgresql", "postgresql+asyncpg"))
    session = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: 1)
    await kongtask_sqlalchemy.add_job(session, "mail")
    await session.rollback()
    await kongtask_sqlalchemy.add_job(session, "mail")
    assert await count(pool) == 0
    await session.commit()
    await session.remove()
    await engine.dispose()

    assert await count(pool) == 1


def test_settings_of_the_connection_change_nothing(database_url: str) -> None:
    with psycopg.connect(
        database_url, row_factory=dict_row, cursor_factory=psycopg.ClientCursor
    ) as connection:
        connection.execute("set timezone to 'Asia/Kolkata'")
        connection.execute("set datestyle to 'German'")
        with connection.pipeline():
            job = kongtask_psycopg.add_job(connection, "mail")
            (other,) = kongtask_psycopg.add_jobs(connection, [("mail", None, None)])
    assert job.created_at == other.created_at == job.run_at
    assert job.created_at.utcoffset() is not None


@pytest.mark.parametrize(
    "add, connection, got",
    [
        pytest.param(kongtask_psycopg.add_job, "postgresql://", "str", id="psycopg"),
        pytest.param(kongtask_sqlalchemy.add_job, sqlalchemy, "module", id="SQLAlchemy"),
    ],
)
def test_what_is_no_connection_is_named(
    add: Callable[[Any, str], object], connection: object, got: str
) -> None:
    with pytest.raises(TypeError, match=f"got {got}"):
        add(connection, "mail")


def test_a_database_of_another_kind_is_refused() -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with (
        engine.connect() as connection,
        pytest.raises(ConfigurationError, match="speaks sqlite"),
    ):
        kongtask_sqlalchemy.add_job(connection, "mail")
    engine.dispose()


def test_a_closed_connection_is_lost(database_url: str) -> None:
    connection = psycopg.connect(database_url)
    connection.close()

    with pytest.raises(StoreUnavailable):
        kongtask_psycopg.add_job(connection, "mail")
    with pytest.raises(StoreUnavailable):
        kongtask_psycopg.add_jobs(connection, [("mail", None, None)])


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_a_server_that_is_away_is_named_so(driver: str) -> None:
    engine = create_async_engine(f"postgresql+{driver}://nobody@127.0.0.1:1/none")
    session = async_sessionmaker(engine)()
    with pytest.raises(StoreUnavailable):
        await kongtask_sqlalchemy.add_job(session, "mail")
    await session.close()
    await engine.dispose()

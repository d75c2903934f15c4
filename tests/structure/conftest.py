"""A server of which nobody else asks anything."""

from __future__ import annotations

from collections.abc import Iterator

import asyncpg
import pytest
from busy_server import server_with
from counting import Counted
from postgres_server import run, temporary_database

from kongtask import run_migrations


@pytest.fixture(scope="module")
def quiet_server() -> Iterator[str]:
    """A server that writes nothing but what is counted."""
    with server_with(max_wal_size="4GB", checkpoint_timeout="1h") as url:
        yield url


@pytest.fixture
def quiet_url(quiet_server: str) -> Iterator[str]:
    with temporary_database(quiet_server) as url:
        run(_migrate(url))
        yield url


async def _migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await run_migrations(connection)
    finally:
        await connection.close()


@pytest.fixture
def counted(quiet_url: str) -> Counted:
    return Counted(quiet_url)

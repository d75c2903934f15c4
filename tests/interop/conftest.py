"""npm's Graphile Worker, in the versions of package.json."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from graphile import Graphile, install


@pytest.fixture(scope="session")
def node() -> Graphile:
    """Graphile Worker, installed once. Without Node the tests fail: they are what proves it."""
    return install()


@pytest.fixture
async def connection(empty_database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection to a database with no schema yet."""
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def migrated(database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection to a database with KongTask's own schema."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()

"""A pool that no test may leave with a connection in use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool[Any]]:
    """A pool on the test's database."""
    pool = await asyncpg.create_pool(database_url, min_size=1, max_size=10)
    yield pool
    try:
        await asyncio.wait_for(pool.close(), 30)
    except TimeoutError:
        pool.terminate()
        raise AssertionError("a connection was never given back") from None

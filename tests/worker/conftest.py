"""A pool that a failed test cannot keep open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from kongtask.postgres.pool import close_pool


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool[Any]]:
    """A pool on the test's database."""
    pool = await asyncpg.create_pool(database_url, min_size=1, max_size=10)
    yield pool
    await close_pool(pool)

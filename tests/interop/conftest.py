"""npm's Graphile Worker, in the versions of package.json."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from graphile import Graphile, install
from hosting import Host
from sides import Node, Python, Side, Table
from work_task import GATES, RUNS


@pytest.fixture(scope="session")
def node() -> Graphile:
    """Graphile Worker, installed once. Without Node the tests fail: they are what proves it."""
    return install()


@pytest.fixture(scope="session")
def host(node: Graphile) -> Iterator[Host]:
    """The one Node process in which the tests run pools of Graphile Worker."""
    host = Host(node.node)
    yield host
    host.end()


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


@pytest.fixture
async def table(pool: Any) -> Table:
    await pool.execute(RUNS)
    return Table(pool)


@pytest.fixture
async def sides(table: Table, host: Host, database_url: str) -> AsyncIterator[dict[str, Side]]:
    """Both sides on the test's database; what they started is stopped."""
    sides: dict[str, Any] = {"node": Node(host, database_url), "python": Python(table.pool)}
    yield sides
    for gate in GATES.values():
        gate.set()
    GATES.clear()
    await host.call("forget")
    for side in sides.values():
        await asyncio.wait_for(side.stop(), 20)

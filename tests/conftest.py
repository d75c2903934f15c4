"""What tests of every part share: one server a run, and a database of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from database_clones import Clones
from hypothesis import settings
from migrated import migrate
from postgres_server import postgres_server, run, temporary_database
from sharing_out import SharingOut, order
from xdist import is_xdist_worker

settings.register_profile("no time limit", parent=settings(), deadline=None)
settings.load_profile("no time limit")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharingOut:
    return SharingOut(config, log)


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    if is_xdist_worker(session):
        order(items)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The maintenance database of the run's server; its role may do everything."""
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_template(server_url: str) -> Iterator[str]:
    """The name of a migrated database that nobody is connected to."""
    with temporary_database(server_url) as url:
        run(migrate(url))
        yield url.rpartition("/")[2]


@pytest.fixture(scope="session")
def clones(server_url: str, migrated_template: str) -> Iterator[Clones]:
    """Clones of the migrated database, one ahead of who asks."""
    clones = Clones(server_url, migrated_template)
    yield clones
    clones.close()


@pytest.fixture
def database_url(clones: Clones) -> Iterator[str]:
    """A database of the test's own with the schema graphile_worker."""
    with clones.one() as url:
        yield url


@pytest.fixture
def empty_database_url(server_url: str) -> Iterator[str]:
    """A database of the test's own with nothing in it."""
    with temporary_database(server_url) as url:
        yield url


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool[Any]]:
    """A pool on the test's database."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=10) as pool:
        yield pool

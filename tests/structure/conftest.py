"""A server of which nobody else asks anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from busy_server import server_with
from counting import Counted
from migrated import migrate
from postgres_server import run, temporary_database


@pytest.fixture(scope="module")
def quiet_server() -> Iterator[str]:
    """A server that writes nothing but what is counted."""
    with server_with(max_wal_size="4GB", checkpoint_timeout="1h") as url:
        yield url


@pytest.fixture
def quiet_url(quiet_server: str) -> Iterator[str]:
    with temporary_database(quiet_server) as url:
        run(migrate(url))
        yield url


@pytest.fixture
def counted(quiet_url: str) -> Counted:
    return Counted(quiet_url)

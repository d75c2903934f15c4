"""The benchmark's own PostgreSQL: durable, otherwise as it comes, gone afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import postgres_server

DEBIAN = Path("/usr/lib/postgresql/15/bin")
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "1GB",
    # No checkpoint falls into one participant's run and not into another's.
    "checkpoint_timeout": "1h",
    "max_wal_size": "16GB",
    "timezone": "UTC",
}


@contextmanager
def durable_server() -> Iterator[str]:
    """Yield the URL of a server: KONGTASK_BENCHMARK_POSTGRES_BIN's, Debian's, else the wheel's."""
    folder = os.environ.get("KONGTASK_BENCHMARK_POSTGRES_BIN") or str(DEBIAN)
    named = {"KONGTASK_TEST_POSTGRES_BIN": folder} if (Path(folder) / "initdb").is_file() else {}
    postgres_server.SETTINGS.clear()
    postgres_server.SETTINGS.update(SETTINGS)
    with postgres_server.postgres_server(named, in_memory=False) as url:
        yield url

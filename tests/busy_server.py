"""A PostgreSQL server of a test's own, with settings that the one of the run does not have."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import postgres_server
import pytest


@contextmanager
def server_with(**settings: str) -> Iterator[str]:
    """Yield the URL of the maintenance database of a server with these settings."""
    kept = {
        name: value for name, value in os.environ.items() if name != "KONGTASK_TEST_DATABASE_URL"
    }
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # only now: another server may start meanwhile
            for name, value in settings.items():
                patch.setitem(postgres_server.SETTINGS, name, value)
            url = stack.enter_context(postgres_server.postgres_server(kept))
        yield url

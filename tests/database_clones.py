"""Clones of a database, one ahead of who asks: the next is made while a test runs.

Nobody waits for a drop: PostgreSQL takes a tenth of a second for one when a session is just ending.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from postgres_server import temporary_database

DROPS = 4
"""Databases that are dropped at a time."""


class Clones:
    """Makes clones of one template in a thread of its own, and drops them in others."""

    def __init__(self, server_url: str, template: str) -> None:
        self._server_url = server_url
        self._template = template
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clones")
        self._droppers = ThreadPoolExecutor(DROPS, thread_name_prefix="drops")
        self._next = self._thread.submit(self._make)

    @contextmanager
    def one(self) -> Iterator[str]:
        """Lend a clone; it is dropped afterwards."""
        stack, url = self._next.result()
        self._next = self._thread.submit(self._make)
        try:
            yield url
        finally:
            self._droppers.submit(stack.close)

    def close(self) -> None:
        """Drop what is left."""
        stack, _ = self._next.result()
        self._droppers.submit(stack.close)
        self._droppers.shutdown(wait=True)
        self._thread.shutdown(wait=True)

    def _make(self) -> tuple[ExitStack, str]:
        stack = ExitStack()
        return stack, stack.enter_context(temporary_database(self._server_url, self._template))

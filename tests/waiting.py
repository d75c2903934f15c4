"""Waiting for what must come true, with a deadline instead of a guess."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

SOMEBODY_WAITS = """select count(*) from pg_locks join pg_stat_activity using (pid)
    where not granted and datname = current_database()"""
"""How many wait for a lock in this database."""

PATIENCE = 20.0
"""Seconds until what does not come true fails the test."""


async def until(condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Return the first true value of a plain or coroutine function."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        value = await found if inspect.isawaitable(found) else found
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"did not come true within {patience:g} s: {condition}")
        await asyncio.sleep(0.005)


def wait_until(condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Return the first true value, in a test without an event loop."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"did not come true within {patience:g} s: {condition}"
        time.sleep(0.01)
    return found

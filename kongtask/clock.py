"""The one door to time and chance, so that every part can be tested with the clock in hand.

It refuses to know anything about jobs; the database's own clock decides when a job is due.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from datetime import UTC, datetime


class Clock:
    """The machine's clock; tests pass a subclass whose hands they move."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back, for measuring durations."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        await asyncio.sleep(seconds)

    def jitter(self, low: float = 0.5, high: float = 1.5) -> float:
        """Return a random factor between low and high, to keep many processes apart."""
        return random.uniform(low, high)

    def token(self, size: int = 9) -> str:
        """Return `size` random bytes as hexadecimal digits, for names that must not collide."""
        return secrets.token_hex(size)

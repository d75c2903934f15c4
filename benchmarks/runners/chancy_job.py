"""Chancy's job, in a module of its own because Chancy imports it by name."""

from __future__ import annotations

from typing import Any

from protocol import Work

current: list[Work] = []


async def bench(**payload: Any) -> None:
    """Run what the workload says."""
    await current[0].handle(payload, 1)

"""Follows pools: one loop a pool, woken by what happens and by the time that passes.

Many wakes close together make one pass. It knows no kopf; something else tells it what happened.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from kongtask.clock import Clock
from kongtask.errors import ClusterUnavailable, ConfigurationError
from kongtask.operator.health import Progress
from kongtask.operator.manifest import pool_from_manifest
from kongtask.operator.model import PoolKey
from kongtask.operator.reconcile import Outcome, Reconciler

logger = logging.getLogger("kongtask.operator")

PAUSE = 0.5
"""Seconds between two passes of one pool at least, however often it is woken."""

LONGEST_RETRY = 30.0
"""Seconds until the next pass after many that failed."""


@dataclass(slots=True)
class _Followed:
    manifest: Mapping[str, Any]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0


class Pools:
    """All pools that are followed. `changed` is told which pool's objects changed."""

    def __init__(
        self,
        *,
        reconciler: Reconciler,
        progress: Progress,
        changed: Callable[[PoolKey], None],
        clock: Clock,
    ) -> None:
        self._reconciler = reconciler
        self._progress = progress
        self._changed = changed
        self._clock = clock
        self._followed: dict[PoolKey, _Followed] = {}

    def saw(self, key: PoolKey, manifest: Mapping[str, Any]) -> None:
        """Take note of a pool's latest manifest."""
        followed = self._followed.get(key)
        if followed is None:
            self._followed[key] = _Followed(manifest)
            return
        news = _wish(followed.manifest) != _wish(manifest)
        followed.manifest = manifest
        if news:
            self._changed(key)
            followed.wake.set()

    def touch(self, key: PoolKey) -> None:
        """Look at a pool anew, because something it owns changed."""
        self._changed(key)
        self.wake(key)

    def wake(self, key: PoolKey) -> None:
        """Let a pool's next pass begin now."""
        followed = self._followed.get(key)
        if followed is not None:
            followed.wake.set()

    async def follow(self, key: PoolKey, leaving: Callable[[], bool]) -> None:
        """Do pass after pass until the pool is deleted and drained, or `leaving` says so."""
        try:
            while not leaving():
                followed = self._followed[key]
                followed.wake.clear()
                outcome, pause = await self._one(key, followed)
                if outcome is not None and outcome.plan.drained:
                    await self._reconciler.forget(key)
                    self._followed.pop(key, None)
                    return
                await self._wait(followed, pause)
        finally:
            self._progress.left(key)

    async def _one(self, key: PoolKey, followed: _Followed) -> tuple[Outcome | None, float]:
        try:
            with self._progress.measured(key):
                pool = pool_from_manifest(followed.manifest, stored=True)
                outcome = await self._reconciler.reconcile(pool)
        except (ClusterUnavailable, ConfigurationError) as error:
            return None, self._failed(key, followed, error)
        except Exception as error:  # one pool's fault must not end its loop
            logger.exception("%s: a pass failed", key)
            return None, self._failed(key, followed, error)
        followed.failures = 0
        self._progress.noted(key, outcome.status)
        return outcome, outcome.again_in

    def _failed(self, key: PoolKey, followed: _Followed, error: Exception) -> float:
        followed.failures += 1
        delay = min(LONGEST_RETRY, 2.0 ** min(followed.failures, 10) / 2) * self._clock.jitter()
        logger.warning("%s: %s; next try in %.1f s", key, error, delay)
        return delay

    async def _wait(self, followed: _Followed, seconds: float) -> None:
        ended = self._clock.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await followed.wake.wait()
        rest = PAUSE - (self._clock.monotonic() - ended)
        if rest > 0:
            await self._clock.sleep(rest)


def _wish(manifest: Mapping[str, Any]) -> tuple[Any, Any]:
    metadata = manifest.get("metadata") or {}
    return metadata.get("generation"), metadata.get("deletionTimestamp")


def pool_key(manifest: Mapping[str, Any]) -> PoolKey:
    """Return the key of the pool that an object is, or belongs to by its label."""
    metadata = manifest["metadata"]
    name = (metadata.get("labels") or {}).get("kongtask.dev/pool", metadata["name"])
    return PoolKey(metadata["namespace"], name)

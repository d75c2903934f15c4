"""Under which name a pool of workers locks jobs, and whether its connections are enough."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kongtask.errors import ConfigurationError, shown
from kongtask.postgres.life import PoolIdentity
from kongtask.worker.options import WorkerPoolOptions

if TYPE_CHECKING:
    import asyncpg

LEAST_CONNECTIONS = 4
"""A pool keeps three connections for itself; handlers need at least one more."""


def check_size(pool: asyncpg.Pool[Any]) -> None:
    """Raise `ConfigurationError` when this is no pool of enough connections."""
    if not callable(getattr(pool, "get_max_size", None)):
        raise ConfigurationError(f"pool must be an asyncpg pool, got {shown(pool)}")
    if pool.get_max_size() < LEAST_CONNECTIONS:
        raise ConfigurationError(
            f"a connection pool of {pool.get_max_size()} is too small: give at least "
            f"{LEAST_CONNECTIONS} as its max_size, or as max_pool_size"
        )


def pool_identity(options: WorkerPoolOptions, tasks: Sequence[str], *, once: bool) -> PoolIdentity:
    """Return who a new pool is: its name in locks tells whose they are."""
    kind = "otpool" if once else "pool"
    token = options.clock.token()
    name = re.sub(r"[^A-Za-z0-9.-]", "-", options.worker_name)[:100]
    return PoolIdentity(
        pool_id=f"{kind}-{name}-{token}" if name else f"{kind}-{token}",
        host=options.worker_name,
        concurrency=options.concurrency,
        tasks=tuple(sorted(tasks)),
        recovery_timeout=options.recovery_timeout,
        attempts_count=options.attempts_count,
        has_session=options.listen,
    )

"""What a pool of workers says of its life, and hears of its own locks and of the dead.

It has a connection of its own, from a pool made like the one it is given, so that it can beat on
another event loop: one that handlers cannot block.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import asyncpg

from kongtask.postgres.session import Session
from kongtask.postgres.statements import statement

FreedReason = Literal["gone", "silent", "stale"]
"""Why locks were freed: the pool's session had ended; it stood and the pool was silent; or no pool
of ours held them and they were older than Graphile Worker's four hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolIdentity:
    """Who holds the locks: the text in locked_by, and what the heartbeat tells of its owner.

    recovery_timeout: within which others free its jobs when it died. attempts_count: whether the
    attempts count that died with it. has_session: whether its session proves that it lives.
    """

    pool_id: str
    host: str
    concurrency: int
    tasks: tuple[str, ...]
    recovery_timeout: timedelta = timedelta(seconds=10)
    attempts_count: bool = True
    has_session: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Freed:
    """So many jobs of a pool were freed, and why."""

    pool_id: str
    jobs: int
    reason: FreedReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What one heartbeat brought: whose jobs were freed, and which are held no longer."""

    freed: tuple[Freed, ...] = ()
    lost: frozenset[int] = frozenset()


class LifeStore:
    """The heartbeat of one pool of workers."""

    def __init__(self, pool: asyncpg.Pool[Any], schema: str, identity: PoolIdentity) -> None:
        self._schema = schema
        self._identity = identity
        claim = (statement("claim_life", schema), identity.pool_id)
        self._session = Session(pool, schema, claim if identity.has_session else None)

    async def beat(self, held: Collection[int], *, free: bool) -> Beat:
        """Renew the heartbeat; tell which of `held` are lost; free what dead pools hold.

        Raises `StoreUnavailable`.
        """
        me = self._identity
        rows = await self._session.fetch(
            statement("beat", self._schema),
            me.pool_id, me.host, me.concurrency, list(me.tasks),
            me.recovery_timeout, me.attempts_count, free, list(held),
        )  # fmt: skip
        freed = (
            Freed(pool_id=row["pool_id"] or "", jobs=row["jobs"], reason=row["reason"])
            for row in rows
            if row["reason"] != "lost"
        )
        lost = (row["jobs"] for row in rows if row["reason"] == "lost")
        return Beat(freed=tuple(freed), lost=frozenset(lost))

    async def close(self) -> None:
        """Give the connection back."""
        await self._session.close()


def pool_like(pool: asyncpg.Pool[Any]) -> asyncpg.Pool[Any]:
    """Return a pool of one connection to the same server, to be opened on the running loop."""
    like: Any = pool  # asyncpg remembers how it connects and has no way to ask for it
    return asyncpg.create_pool(
        *like._connect_args,
        min_size=0,
        max_size=1,
        connect=like._connect,
        **{name: value for name, value in like._connect_kwargs.items() if name != "loop"},
    )

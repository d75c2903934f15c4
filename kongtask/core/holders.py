"""Who holds locks on jobs and queues, whether they live, and whose locks a person may free.

The rule of life is the one by which pools of workers free each other's jobs (`beat.sql`), so that a
person is told the same. It refuses to guess about workers of Graphile Worker, which do not say that
they live.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from kongtask.core.wording import counted, span
from kongtask.errors import ConfigurationError, shown

Life = Literal["alive", "dead", "unknown"]

GRAPHILES_PATIENCE = timedelta(hours=4)
"""How old a lock must be until Graphile Worker takes the job for abandoned."""

WITHOUT_SESSION = 0.6
WITH_SESSION = 4
"""Silence, in recovery times, after which a pool is dead without and with its session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What a pool of workers says of itself.

    silent_for: since its last heartbeat. recovery_timeout: its own measure of silence. has_session:
    whether the session stands that proves its life.
    """

    pool_id: str
    host: str | None
    tasks: tuple[str, ...] = ()
    silent_for: timedelta
    recovery_timeout: timedelta
    has_session: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """So many jobs and queues are locked by one pool, the first for so long.

    pool: what it says of itself; None when it is unknown, as those of Graphile Worker are.
    """

    pool_id: str
    jobs: int
    queues: int
    held_for: timedelta
    pool: Pool | None = None

    @property
    def life(self) -> Life:
        """Whether it lives."""
        if self.pool is None:
            return "unknown"
        return "alive" if is_alive(self.pool) else "dead"


def is_alive(pool: Pool) -> bool:
    """Whether a pool lives.

    >>> second = timedelta(seconds=1)
    >>> silent = {"pool_id": "p", "host": "", "silent_for": 7 * second}
    >>> is_alive(Pool(**silent, recovery_timeout=10 * second, has_session=True))
    True
    >>> is_alive(Pool(**silent, recovery_timeout=10 * second, has_session=False))
    False
    """
    patience = WITH_SESSION if pool.has_session else WITHOUT_SESSION
    return pool.silent_for <= pool.recovery_timeout * patience


def to_free(
    holders: Sequence[Holder], pool_ids: Sequence[str], *, dead: bool = False, force: bool = False
) -> tuple[Holder, ...]:
    """Return the holders that were named, and with `dead` those that died.

    Raises `ConfigurationError` when a name holds nothing, or lives and `force` is not given.
    """
    by_id = {holder.pool_id: holder for holder in holders}
    for pool_id in pool_ids:
        if pool_id not in by_id:
            raise ConfigurationError(
                f"pool {shown(pool_id)} holds no lock: `kongtask unlock` lists those that do"
            )
        if by_id[pool_id].life == "alive" and not force:
            raise ConfigurationError(
                f"pool {shown(pool_id)} lives, {reason(by_id[pool_id])}: its jobs would run twice. "
                "Stop it first, or unlock it all the same with --force"
            )
    named = [by_id[pool_id] for pool_id in dict.fromkeys(pool_ids)]
    died = [each for each in holders if dead and each.life == "dead" and each not in named]
    return (*named, *died)


def reason(holder: Holder) -> str:
    """Say why a holder counts as what it does."""
    pool = holder.pool
    if pool is None:
        return "it sends no heartbeat, as workers of Graphile Worker do not"
    session = "its session stands" if pool.has_session else "its session is gone"
    return f"its last heartbeat was {span(pool.silent_for)} ago and {session}"


def held(holder: Holder) -> str:
    """Return what a holder holds."""
    parts = [
        counted(number, noun)
        for number, noun in ((holder.jobs, "job"), (holder.queues, "queue"))
        if number
    ]
    return " and ".join(parts)

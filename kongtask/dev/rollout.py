"""Decides which worker processes start and stop, as a Deployment does it for pods.

Workers of a new revision come first and one at a time; an old one goes only when a new one is
ready. It starts nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SURGE = 1
"""How many workers more than wanted there may be while they are replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How many workers of which revision there should be."""

    revision: str
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """One worker that was not told to stop. `number`: workers that started later have more."""

    name: str
    revision: str
    number: int
    ready: bool = False
    cost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What to do now: how many to start, and which to stop."""

    start: int = 0
    stop: tuple[str, ...] = ()


def next_steps(wanted: Wanted, present: Sequence[Present]) -> Steps:
    """Return what brings the workers closer to what is wanted.

    >>> next_steps(Wanted(revision="b", replicas=1), [
    ...     Present(name="mail-1", revision="a", number=1, ready=True)])
    Steps(start=1, stop=())
    """
    current = [each for each in present if each.revision == wanted.revision]
    old = [each for each in present if each.revision != wanted.revision]
    limit = wanted.replicas + (SURGE if old else 0)
    missing = min(wanted.replicas - len(current), limit - len(present))
    excess = len(current) - wanted.replicas
    leaving = [*_replaced(wanted, current, old), *sorted(current, key=_worth)[: max(0, excess)]]
    return Steps(start=max(0, missing), stop=tuple(each.name for each in leaving))


def _replaced(wanted: Wanted, current: Sequence[Present], old: Sequence[Present]) -> list[Present]:
    """Return the old workers that are not needed any more to have enough ready ones."""
    ready = sum(each.ready for each in current) + sum(each.ready for each in old)
    spare = max(0, ready - wanted.replicas)
    idle = [each for each in old if not each.ready]
    return idle + sorted((each for each in old if each.ready), key=_worth)[:spare]


def _worth(worker: Present) -> tuple[bool, int, int]:
    """Sort those first that cost least to lose: not ready, then idle, then young."""
    return worker.ready, worker.cost, -worker.number

"""Turns what changed about a pool into lines for people: one line a change, none for a state.

Where lines go is for others to decide.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kongtask.clock import Clock
from kongtask.operator.model import PoolStatus

Say = Callable[[str], None]

SUBJECTS = {
    "DatabaseReachable": "database",
    "SchemaMigrated": "schema",
    "CrontabValid": "crontab",
    "WorkersAvailable": "workers",
}

QUIET = frozenset({"Pending", "NotStarted", "Starting", "NoCrontab"})
"""Reasons that say only what the next line will show."""

SCALING = frozenset({"CoolingDown", "LoweringSoon", "SignalUnknown", "HeldByRollout"})
"""Reasons why the number of workers stays, worth a line of their own."""


def named(say: Say, name: str, width: int = 8) -> Say:
    """Return a way to say lines in somebody's name.

    >>> named(print, "mail-1")("ready")
    mail-1   | ready
    """
    return lambda text: say(f"{name:<{width}} | {text}")


def timed(say: Say, clock: Clock) -> Say:
    """Return a way to say lines with the time of day before them."""
    return lambda text: say(f"{clock.now().astimezone():%H:%M:%S} {text}")


class _Saying(logging.Handler):
    def __init__(self, say: Say) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage())


@contextmanager
def warnings_said(say: Say) -> Iterator[None]:
    """Say what the operator's parts warn of, and send it nowhere else."""
    logger = logging.getLogger("kongtask")
    handler, before = _Saying(say), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(handler)


def changes(before: PoolStatus, after: PoolStatus) -> Iterator[str]:
    """Yield a line for each condition that changed and for a changed number of workers."""
    for kind, subject in SUBJECTS.items():
        if _reason(before, kind) != (reason := _reason(after, kind)) and reason[1] not in QUIET:
            condition = after.condition(kind)
            yield f"{subject}: {condition.message if condition else ''}"
    yield from _scale(before, after)


def _scale(before: PoolStatus, after: PoolStatus) -> Iterator[str]:
    old, new = before.desired_replicas, after.desired_replicas
    reason = _reason(after, "ScalingActive")
    if old != new:
        yield f"scale {old} → {new}: {after.scaling.reason}"
    elif new and reason != _reason(before, "ScalingActive") and reason[1] in SCALING:
        yield f"scale stays: {after.scaling.reason}"


def _reason(status: PoolStatus, kind: str) -> tuple[str, str]:
    condition = status.condition(kind)
    return ("", "") if condition is None else (condition.status, condition.reason)


def add_command(
    task: str, payload: str, uri: str, schema: str, *, program: str = "kongtask"
) -> str:
    """Return the command line that adds a job; `program` is how the shell finds kongtask.

    >>> add_command("greet", "{}", "postgresql://db/shop", "graphile_worker")
    "kongtask add greet '{}' -c postgresql://db/shop"
    """
    words = [program, "add", task, payload, "-c", uri]
    if schema != "graphile_worker":
        words += ["-s", schema]
    return shlex.join(words)

"""Lines about what changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from kongtask.dev.telling import add_command, changes
from kongtask.operator.model import Condition, PoolStatus, ScalingMemory

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def condition(kind: str, reason: str, message: str, status: Any = "True") -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=message, since=NOW)


def status(*conditions: Condition, desired: int = 0, why: str = "") -> PoolStatus:
    return PoolStatus(
        conditions=conditions, desired_replicas=desired, scaling=ScalingMemory(reason=why)
    )


def test_a_condition_is_told_when_its_reason_changes_and_not_when_its_words_do() -> None:
    away = status(condition("DatabaseReachable", "ConnectionFailed", "it is away", "False"))
    later = status(condition("DatabaseReachable", "ConnectionFailed", "still away", "False"))
    back = status(condition("DatabaseReachable", "Connected", "it answers"))
    assert list(changes(PoolStatus(), away)) == ["database: it is away"]
    assert list(changes(away, later)) == []
    assert list(changes(later, back)) == ["database: it answers"]


def test_steps_that_the_next_line_shows_are_left_out() -> None:
    pending = status(condition("SchemaMigrated", "Pending", "not started", "False"))
    assert list(changes(PoolStatus(), pending)) == []


def test_a_scale_is_told_once_with_its_reason() -> None:
    raised = status(condition("ScalingActive", "Raised", "2 = x"), desired=2, why="2 = x")
    steady = status(condition("ScalingActive", "Steady", "2 = x"), desired=2, why="2 = x")
    waiting = status(condition("ScalingActive", "CoolingDown", "w"), desired=2, why="2, to zero")
    none = replace(waiting, desired_replicas=0)
    assert list(changes(PoolStatus(), raised)) == ["scale 0 → 2: 2 = x"]
    assert list(changes(raised, steady)) == []
    assert list(changes(steady, waiting)) == ["scale stays: 2, to zero"]
    assert list(changes(PoolStatus(), none)) == []


def test_the_command_line_names_a_schema_that_is_not_the_usual_one() -> None:
    command = add_command("greet", '{"a": "it\'s"}', "postgresql://db/shop", "jobs")
    assert command.endswith("-c postgresql://db/shop -s jobs")
    assert command.startswith("kongtask add greet '{")

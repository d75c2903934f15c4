"""How many workers a pool should have."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from operator_words import IDLE_LONG, NOW

from kongtask.operator.model import Scaling, ScalingMemory
from kongtask.operator.scaling import ScalingInput, decide

AUTO = Scaling(min_replicas=0, max_replicas=10)
RECENT = ScalingMemory(last_active=NOW - timedelta(seconds=10), last_needed=NOW)


def situation(**changes: Any) -> ScalingInput:
    usual = ScalingInput(scaling=AUTO, target=20, now=NOW, ready=0, running=0, memory=IDLE_LONG)
    return replace(usual, **changes)


TABLE = {
    "an idle pool without workers stays at zero": ({}, 0, "Steady"),
    "the first job wakes a worker": ({"ready": 1}, 1, "Raised"),
    "a burst goes to the needed number in one step": ({"ready": 100}, 5, "Raised"),
    "running jobs count like waiting ones": ({"ready": 47, "running": 12}, 3, "Raised"),
    "the maximum bounds": ({"ready": 10_000}, 10, "Raised"),
    "the minimum holds without jobs": (
        {"scaling": Scaling(min_replicas=2)}, 2, "Raised"),
    "nothing is known: workers stay": (
        {"ready": None, "running": None, "current": 4}, 4, "SignalUnknown"),
    "nothing is known: zero stays zero": (
        {"ready": None, "running": None}, 0, "SignalUnknown"),
    "running jobs alone keep a worker": (
        {"running": 3, "current": 1, "busy": 1}, 1, "Steady"),
    "after the cooldown an idle pool goes to zero": ({"current": 3}, 0, "Lowered"),
    "before the cooldown's end one worker stays": (
        {"current": 3, "memory": ScalingMemory(
            last_active=NOW - timedelta(seconds=200),
            last_needed=NOW - timedelta(seconds=200))}, 1, "CoolingDown"),
    "just idle: all workers stay for the window": (
        {"current": 3, "memory": RECENT}, 3, "CoolingDown"),
    "fewer jobs lower the number after the window": (
        {"ready": 30, "current": 5}, 2, "Lowered"),
    "fewer jobs within the window change nothing": (
        {"ready": 30, "current": 5, "memory": RECENT}, 5, "LoweringSoon"),
    "busy workers are not taken away": (
        {"running": 4, "current": 5, "busy": 4}, 4, "Lowered"),
    "a lowered maximum is kept at once": (
        {"ready": 1000, "current": 15, "memory": RECENT}, 10, "Lowered"),
    "a job due in a moment keeps the last worker": (
        {"current": 1, "next_run_at": NOW + timedelta(seconds=5)}, 1, "Steady"),
    "a job due in an hour does not": (
        {"current": 1, "next_run_at": NOW + timedelta(hours=1)}, 0, "Lowered"),
    "suspend wins over jobs": ({"ready": 50, "current": 2, "suspend": True}, 0, "Suspended"),
    "suspend wins over ignorance": (
        {"ready": None, "current": 2, "suspend": True}, 0, "Suspended"),
    "manual is obeyed": ({"manual": 7, "current": 2}, 7, "Manual"),
    "manual zero is obeyed": ({"manual": 0, "current": 2, "ready": 9}, 0, "Manual"),
}  # fmt: skip


@pytest.mark.parametrize("changes, replicas, reason", TABLE.values(), ids=TABLE.keys())
def test_the_rules(changes: dict[str, Any], replicas: int, reason: str) -> None:
    decision = decide(situation(**changes))

    assert (decision.replicas, decision.reason) == (replicas, reason)


def test_the_message_shows_the_sum() -> None:
    decision = decide(situation(ready=47, running=12))

    assert decision.message == "3 = ceil((47 ready + 12 running) / 20)"


def test_the_message_says_when_zero_comes() -> None:
    memory = ScalingMemory(last_active=NOW, last_needed=NOW - timedelta(minutes=5))

    decision = decide(situation(current=1, memory=memory))

    assert decision.message == "1, to zero at 12:05:00 UTC unless a job arrives"


def test_a_pool_never_seen_idle_begins_its_cooldown_now() -> None:
    decision = decide(situation(current=1, memory=ScalingMemory()))

    assert (decision.replicas, decision.memory.last_active) == (1, NOW)


def test_the_unknown_leaves_the_memory_alone() -> None:
    decision = decide(situation(ready=None, running=None, current=2))

    assert decision.memory.last_active == IDLE_LONG.last_active


@some.composite
def situations(draw: some.DrawFn) -> ScalingInput:
    low = draw(some.integers(0, 20))
    seconds = some.integers(0, 1000).map(lambda ago: NOW - timedelta(seconds=ago))
    current = draw(some.integers(0, 40))
    return ScalingInput(
        scaling=Scaling(
            min_replicas=low,
            max_replicas=draw(some.integers(max(low, 1), 30)),
            cooldown_seconds=draw(some.integers(0, 600)),
        ),
        target=draw(some.integers(1, 50)),
        current=current,
        busy=draw(some.integers(0, current)),
        ready=draw(some.integers(0, 2000)),
        running=draw(some.integers(0, 500)),
        now=NOW,
        memory=ScalingMemory(
            last_active=draw(some.none() | seconds), last_needed=draw(some.none() | seconds)
        ),
    )


@given(situations())
def test_bounds_are_kept(given_: ScalingInput) -> None:
    replicas = decide(given_).replicas

    assert given_.scaling.min_replicas <= replicas <= given_.scaling.max_replicas


@given(situations())
def test_never_zero_while_jobs_run(given_: ScalingInput) -> None:
    assert given_.running == 0 or decide(given_).replicas > 0


@given(situations())
def test_the_unknown_holds(given_: ScalingInput) -> None:
    assert decide(replace(given_, ready=None)).replicas == given_.current


@given(situations(), some.integers(0, 500))
def test_more_jobs_never_mean_fewer_workers(given_: ScalingInput, more: int) -> None:
    fewer = decide(given_)
    several = decide(replace(given_, ready=(given_.ready or 0) + more))

    assert several.replicas >= fewer.replicas


@given(situations())
def test_busy_workers_stay_within_the_maximum(given_: ScalingInput) -> None:
    kept = min(given_.busy, given_.scaling.max_replicas)

    assert decide(given_).replicas >= kept

"""What numbers mean: each sentence appears where its numbers call for it, and not elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kongtask.core.bench import Measured, judgement

NEAR = Measured(
    round_trip_ms=0.2,
    commit_ms=0.6,
    adds_per_second=900.0,
    bulk_adds_per_second=20_000.0,
    drained=10_000,
    drained_per_second=6_000.0,
    busy=0.3,
    start_ms=2.5,
    start_p99_ms=6.0,
    fsync=True,
    synchronous_commit="on",
)

SAID = {
    "near": ({}, "round trip takes 0.20 ms: the database is near."),
    "far": ({"round_trip_ms": 12.0, "commit_ms": 13.0}, "12.0 ms: the database is far away"),
    "fast disk": ({}, "A commit waits 0.40 ms for the disk: that limits nothing."),
    "slow disk": (
        {"commit_ms": 4.2},
        "Each commit waits 4.0 ms for the disk or a standby, so that who adds jobs one after the "
        "other adds at most 238 jobs/s.",
    ),
    "no fsync": ({"fsync": False, "commit_ms": 9.0}, "fsync is off: nothing waits for the disk"),
    "asynchronous": ({"synchronous_commit": "off"}, "synchronous_commit is off: no commit waits"),
    "bulk": ({}, "Many in one call are 22 times as fast: use add_jobs"),
    "bulk is no faster": ({"bulk_adds_per_second": 1000.0}, "are hardly faster each"),
    "adding waits for the way": (
        {"round_trip_ms": 5.0, "commit_ms": 5.5, "adds_per_second": 90.0},
        "Adding a job takes 11.1 ms, foremost for the way to the database and back.",
    ),
    "adding waits for the disk": (
        {"commit_ms": 8.0, "adds_per_second": 110.0},
        "Adding a job takes 9.1 ms, foremost for the disk.",
    ),
    "adding is work": ({"adds_per_second": 300.0}, "foremost for the database's own work."),
    "python": ({"busy": 0.93}, "is at work 93% of the time: Python is what limits."),
    "database": ({}, "is at work 30% of the time: it waits for the database."),
    "told at once": ({}, "A job starts 2.5 ms after it was added, by notification"),
    "told late": (
        {"start_ms": 1040.0},
        "A job starts 1040 ms after it was added, which is more than adding and fetching explain "
        "(1.6 ms)",
    ),
}


@pytest.mark.parametrize("changed, sentence", SAID.values(), ids=SAID)
def test_the_numbers_call_for_a_sentence(changed: dict[str, object], sentence: str) -> None:
    said = judgement(replace(NEAR, **changed))
    assert sentence in " ".join(said)
    assert len(said) == 5


@pytest.mark.parametrize("name", [name for name, (changed, _) in SAID.items() if changed])
def test_a_sentence_about_trouble_is_not_said_where_there_is_none(name: str) -> None:
    assert SAID[name][1] not in " ".join(judgement(NEAR))


def test_a_far_database_starts_jobs_late_without_blame() -> None:
    """Adding and fetching take two round trips and two commits: that explains it."""
    far = replace(NEAR, round_trip_ms=40.0, commit_ms=41.0, start_ms=130.0)
    assert "by notification" in judgement(far)[-1]

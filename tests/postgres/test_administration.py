"""What people do to jobs by hand leaves running ones alone, and zero is a value."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeAlias

import asyncpg
import pytest

from kongtask import InvalidJob, Job, RescheduleSpec, TaskSpec, WorkerUtils

Pool: TypeAlias = "asyncpg.Pool[Any]"
JOBS = "graphile_worker._private_jobs"
LATER = datetime(2099, 1, 2, tzinfo=UTC)


@pytest.fixture
async def utils(pool: Pool) -> WorkerUtils:
    return WorkerUtils(pool)


@pytest.fixture
async def jobs(utils: WorkerUtils, pool: Pool) -> list[Job]:
    """One that waits, one that failed for good, one that runs."""
    jobs = await utils.add_jobs([("t", n, TaskSpec(job_key=f"k{n}")) for n in range(3)])
    await pool.execute(f"update {JOBS} set attempts = 25 where id = $1", jobs[1].id)
    await pool.execute(
        f"update {JOBS} set attempts = 1, locked_by = 'pool-x', locked_at = now() where id = $1",
        jobs[2].id,
    )
    return jobs


def ids(jobs: list[Job]) -> list[int]:
    return sorted(job.id for job in jobs)


async def test_completing_deletes_what_does_not_run(
    utils: WorkerUtils, pool: Pool, jobs: list[Job]
) -> None:
    done = await utils.complete_jobs([*ids(jobs), 10**15])
    assert ids(done) == ids(jobs[:2])
    assert {job.task_identifier for job in done} == {"t"}
    assert [row["id"] for row in await pool.fetch(f"select id from {JOBS}")] == [jobs[2].id]
    assert await utils.complete_jobs([]) == []


@pytest.mark.parametrize(
    "reason, kept",
    [("spam", "spam"), (None, "Manually marked as failed"), ("a\0b\ud800", "a\\x00b\\ud800")],
    ids=["given", "none", "no text"],
)
async def test_failing_is_for_good_and_keeps_the_reason(
    utils: WorkerUtils, jobs: list[Job], reason: str | None, kept: str
) -> None:
    failed = await utils.permanently_fail_jobs(ids(jobs), reason)
    assert ids(failed) == ids(jobs[:2])
    assert {(job.attempts, job.max_attempts, job.last_error) for job in failed} == {(25, 25, kept)}


async def test_rescheduling_changes_what_is_given_and_zero_is_a_value(
    utils: WorkerUtils, jobs: list[Job]
) -> None:
    changed = await utils.reschedule_jobs(
        ids(jobs), RescheduleSpec(run_at=LATER, priority=0, attempts=0, max_attempts=3)
    )
    assert ids(changed) == ids(jobs[:2])
    assert {(job.run_at, job.priority, job.attempts, job.max_attempts) for job in changed} == {
        (LATER, 0, 0, 3)
    }
    [alone] = await utils.reschedule_jobs([jobs[0].id], RescheduleSpec())
    assert (alone.run_at, alone.priority, alone.max_attempts) == (LATER, 0, 3)


@pytest.mark.parametrize(
    "spec",
    [RescheduleSpec(max_attempts=0), RescheduleSpec(priority=40_000),
     RescheduleSpec(priority=3_000_000_000), RescheduleSpec(attempts=40_000),
     RescheduleSpec(run_at=datetime(2030, 1, 1))],
    ids=["no attempts", "a large priority", "a huge priority", "many attempts", "no time zone"],
)  # fmt: skip
async def test_a_value_that_no_column_takes_is_refused_by_name(
    utils: WorkerUtils, jobs: list[Job], spec: RescheduleSpec
) -> None:
    with pytest.raises(InvalidJob):
        await utils.reschedule_jobs(ids(jobs), spec)


async def test_removing_by_key(utils: WorkerUtils, pool: Pool, jobs: list[Job]) -> None:
    assert await utils.remove_job("nothing") is None
    removed = await utils.remove_job("k0")
    assert removed is not None
    assert removed.id == jobs[0].id
    running = await utils.remove_job("k2")
    assert running is not None
    assert (running.key, running.attempts, running.locked_by) == (None, 25, "pool-x")
    rows = await pool.fetch(f"select id from {JOBS} order by id")
    assert [row["id"] for row in rows] == ids(jobs[1:])


async def test_unlocking_by_force_names_pools(
    utils: WorkerUtils, pool: Pool, jobs: list[Job]
) -> None:
    await utils.force_unlock_workers(["pool-y"])
    assert await pool.fetchval(f"select locked_by from {JOBS} where id = $1", jobs[2].id)
    await utils.force_unlock_workers(["pool-x"])
    assert not await pool.fetchval(f"select locked_by from {JOBS} where id = $1", jobs[2].id)


async def test_known_tasks_are_those_added_and_those_announced(
    utils: WorkerUtils, pool: Pool, jobs: list[Job]
) -> None:
    await pool.execute(
        "insert into graphile_worker._kongtask_pools (pool_id, tasks) values ('p', '{b, a}')"
    )
    assert await utils.known_tasks() == ["a", "b", "t"]

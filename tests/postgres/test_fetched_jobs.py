"""A fetched job is read when it is asked, and looks like any other job however it is looked at."""

from __future__ import annotations

import copy
import pickle
from collections.abc import AsyncIterator
from dataclasses import FrozenInstanceError, asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kongtask import Job, TaskSpec, WorkerPoolOptions, WorkerUtils
from kongtask.postgres.jobs import JobStore
from kongtask.postgres.records import moment
from kongtask.worker.identity import pool_identity

Pool: TypeAlias = "asyncpg.Pool[Any]"
OLD = datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
FULL = TaskSpec(
    queue_name="line", priority=-3, run_at=OLD, max_attempts=7, job_key="k", flags=["b", "a"],
)  # fmt: skip


@pytest.fixture
async def fetched(pool: Pool) -> AsyncIterator[list[Job]]:
    """Two jobs as a pool of workers gets them: one that has everything, and a plain one."""
    utils = WorkerUtils(pool)
    await utils.add_job("mail", {"to": "ann"}, FULL)
    await utils.add_job("mail", {"to": "bob"})
    identity = pool_identity(WorkerPoolOptions(), ["mail"], once=False)
    store = JobStore(pool, "graphile_worker", identity)
    await store.register_tasks()
    yield list(await store.fetch(10))
    await store.abandon()


async def test_its_fields_are_those_of_its_row(fetched: list[Job], pool: Pool) -> None:
    full, plain = fetched
    read = {each.id: each for each in await WorkerUtils(pool).list_jobs("running")}
    assert full.run_at == OLD
    assert (full.flags, full.key, full.max_attempts) == (("a", "b"), "k", 7)
    assert plain.run_at.tzinfo is UTC
    assert fetched == [read[full.id], read[plain.id]]
    assert [full, plain] != [plain, full]


@pytest.mark.parametrize(
    "look",
    [repr, hash, asdict, copy.copy, copy.deepcopy, lambda job: pickle.loads(pickle.dumps(job)),
     lambda job: replace(job, attempts=9), lambda job: job.is_last_attempt,
     lambda job: job.locked_by],
)  # fmt: skip
async def test_it_does_not_matter_what_is_asked_first(
    fetched: list[Job], pool: Pool, look: Any
) -> None:
    read = {each.id: each for each in await WorkerUtils(pool).list_jobs("running")}
    for job in fetched:
        assert look(job) == look(read[job.id])


async def test_it_cannot_be_changed(fetched: list[Job]) -> None:
    for name in ("attempts", "priority"):
        with pytest.raises(FrozenInstanceError):
            setattr(fetched[0], name, 0)
    assert (fetched[0].attempts, fetched[0].priority) == (1, -3)


async def test_a_name_that_no_job_has_is_told_as_ever(fetched: list[Job], pool: Pool) -> None:
    made = (await WorkerUtils(pool).list_jobs("running"))[0]
    for job in (fetched[0], made):
        with pytest.raises(AttributeError, match="'Job' object has no attribute 'payloads'"):
            job.payloads  # type: ignore[attr-defined]  # noqa: B018
        assert not hasattr(job, "payloads")


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))
def test_seconds_keep_every_microsecond(at: datetime) -> None:
    """PostgreSQL divides microseconds by a million, in the same floating point."""
    microseconds = (at - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    assert moment(microseconds / 1_000_000) == at.replace(tzinfo=UTC)

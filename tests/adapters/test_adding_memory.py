"""What is held at once while jobs are added does not grow with their number."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import asyncpg
import pytest

from kongtask import InvalidJob, TaskSpec, WorkerUtils
from kongtask.core import new_job
from kongtask.core.new_job import NewJob, wanted_chunks

Pool: TypeAlias = "asyncpg.Pool[Any]"

JOBS = 16 * new_job.CHUNK_JOBS

BOUND = 3_000_000
"""Bytes: twice what the jobs of two statements take, half of what all of them would at once."""


def rows(count: int) -> Iterator[NewJob]:
    return (("import_row", {"row": n, "name": f"row {n}"}, None) for n in range(count))


@pytest.mark.parametrize("given", [iter, list])
async def test_many_jobs_take_the_memory_of_few(
    pool: Pool, given: Callable[[Iterator[NewJob]], Iterable[NewJob]]
) -> None:
    utils = WorkerUtils(pool)
    await utils.add_jobs(rows(10))
    jobs = given(rows(JOBS))
    tracemalloc.start()
    try:
        kept = await utils.add_jobs(jobs, return_jobs=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept == []
    assert peak < BOUND
    assert await pool.fetchval("select count(*) from graphile_worker.jobs") == JOBS + 10


def test_a_chunk_is_bounded_by_its_jobs_and_by_its_size() -> None:
    small: list[NewJob] = [("mail", None, None)] * (new_job.CHUNK_JOBS + 1)
    large: list[NewJob] = [("mail", "x" * (new_job.CHUNK_CHARACTERS // 2 - 10), None)] * 3

    assert [len(chunk) for chunk in wanted_chunks(small)] == [new_job.CHUNK_JOBS, 1]
    assert [len(chunk) for chunk in wanted_chunks(large)] == [2, 1]
    assert [[job.position for job in chunk] for chunk in wanted_chunks(large)] == [[0, 1], [2]]


def test_a_key_is_given_once_among_all_chunks() -> None:
    again: NewJob = ("mail", None, TaskSpec(job_key="k"))
    jobs = [again, *rows(new_job.CHUNK_JOBS), again]

    with pytest.raises(InvalidJob, match=f"in jobs 0 and {len(jobs) - 1}: keep one") as caught:
        list(wanted_chunks(jobs))
    assert caught.value.position == len(jobs) - 1

"""A chunk of jobs is made ready while the one before is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import ItemsView, Iterator
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until

from kongtask import InvalidJob, WorkerUtils
from kongtask.core import new_job
from kongtask.core.new_job import NewJob

Pool: TypeAlias = "asyncpg.Pool[Any]"
JOBS = "graphile_worker._private_jobs"


@pytest.fixture(autouse=True)
def one_job_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_job, "CHUNK_JOBS", 1)


class Read(dict[str, int]):
    """A payload that tells when it becomes text."""

    def __init__(self, seen: list[int], n: int) -> None:
        super().__init__(n=n)
        self._seen = seen

    def items(self) -> ItemsView[str, int]:
        self._seen.append(self["n"])
        return super().items()


@pytest.mark.parametrize("return_jobs", [False, True])
async def test_jobs_are_made_ready_while_those_before_them_are_on_their_way(
    pool: Pool, return_jobs: bool
) -> None:
    utils, seen = WorkerUtils(pool), list[int]()
    jobs: list[NewJob] = [("t", Read(seen, n), None) for n in range(3)]
    async with pool.acquire() as other:
        holding = other.transaction()
        await holding.start()
        await other.execute(f"lock table {JOBS} in exclusive mode")
        adding = asyncio.create_task(utils.add_jobs(jobs, return_jobs=return_jobs))
        await until(lambda: seen == [0, 1])
        await holding.rollback()
    added = await adding
    assert [job.payload for job in added] == ([{"n": n} for n in range(3)] if return_jobs else [])
    assert seen == [0, 1, 2]
    assert await pool.fetchval(f"select count(*) from {JOBS}") == 3


async def test_what_is_wrong_with_one_made_ready_is_said_and_nothing_is_added(pool: Pool) -> None:
    async with pool.acquire() as connection:
        utils = WorkerUtils(connection)
        wrong: list[NewJob] = [("t", None, None), ("t", None, None), ("t", float("nan"), None)]
        with pytest.raises(InvalidJob, match=r"^job 2: payload is not JSON"):
            await utils.add_jobs(wrong, return_jobs=False)
        assert await connection.fetchval(f"select count(*) from {JOBS}") == 0
        await utils.add_jobs(wrong[:2], return_jobs=False)
    assert await pool.fetchval(f"select count(*) from {JOBS}") == 2


async def test_somebodys_generator_runs_only_where_it_was_handed_over(pool: Pool) -> None:
    tasks = []

    def jobs() -> Iterator[NewJob]:
        for _ in range(3):
            tasks.append(asyncio.current_task())
            yield "t", None, None

    await WorkerUtils(pool).add_jobs(jobs(), return_jobs=False)
    assert tasks == [asyncio.current_task()] * 3

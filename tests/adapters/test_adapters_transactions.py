"""A job exists if and only if the caller's transaction commits, over every driver."""

from __future__ import annotations

from typing import Any, TypeAlias

import asyncpg
import pytest
from callers import Block, Caller

from kongtask.core import new_job
from kongtask.core.new_job import NewJob
from kongtask.core.task_spec import TaskSpec
from kongtask.errors import InvalidJob, JobKeyTooLong

Pool: TypeAlias = "asyncpg.Pool[Any]"

MANY: list[NewJob] = [
    ("mail", {"n": 1}, None),
    ("bill", {"n": 2}, TaskSpec(queue_name="money", job_key="a")),
    ("mail", {"n": 3}, TaskSpec(job_key="b", job_key_mode="preserve_run_at")),
    ("mail", {"n": 4}, TaskSpec(job_key="c", job_key_mode="unsafe_dedupe", flags=["x"])),
    ("mail", "a\0b", None),
]
BAD: NewJob = ("mail", None, TaskSpec(job_key="k" * 513))


class Undone(Exception):
    """What the application's own code raises."""


async def tasks(pool: Pool) -> list[str]:
    rows = await pool.fetch("select task_identifier as task from graphile_worker.jobs order by id")
    return [row["task"] for row in rows]


async def undo(caller: Caller, block: Block, first: str) -> None:
    async with block():
        if first == "one":
            await caller.add_job("mail")
        await caller.add_jobs(MANY)
        raise Undone


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_job, "CHUNK_JOBS", 2)


async def test_the_jobs_are_there_when_the_transaction_commits(caller: Caller, pool: Pool) -> None:
    async with caller.transaction():
        await caller.add_job("mail")
        await caller.add_jobs([("bill", None, None)] * 2)
        assert await tasks(pool) == []

    assert await tasks(pool) == ["mail", "bill", "bill"]


async def test_many_jobs_can_begin_the_transaction(caller: Caller, pool: Pool) -> None:
    async with caller.transaction():
        await caller.add_jobs([("bill", None, None)] * 2)
        await caller.add_job("mail")
        assert await tasks(pool) == []

    assert await tasks(pool) == ["bill", "bill", "mail"]


@pytest.mark.parametrize("first", ["one", "many"])
async def test_no_job_is_there_when_it_rolls_back(caller: Caller, pool: Pool, first: str) -> None:
    with pytest.raises(Undone):
        await undo(caller, caller.transaction, first)

    assert await tasks(pool) == []


async def test_a_savepoint_takes_its_jobs_with_it(caller: Caller, pool: Pool) -> None:
    async with caller.transaction():
        await caller.add_job("before")
        with pytest.raises(Undone):
            await undo(caller, caller.savepoint, "one")
        async with caller.savepoint():
            await caller.add_job("kept")
        await caller.add_job("after")

    assert await tasks(pool) == ["before", "kept", "after"]


async def test_without_a_transaction_jobs_are_there_at_once(
    autocommitting: Caller, pool: Pool
) -> None:
    await autocommitting.add_job("mail")
    assert await tasks(pool) == ["mail"]

    added = await autocommitting.add_jobs(MANY)
    assert len(await tasks(pool)) == 1 + len(added)


async def test_without_a_transaction_many_are_added_all_or_none(
    autocommitting: Caller, pool: Pool, small_chunks: None
) -> None:
    with pytest.raises(JobKeyTooLong):
        await autocommitting.add_jobs([*MANY, BAD])
    assert await tasks(pool) == []

    await autocommitting.add_job("mail")
    assert await tasks(pool) == ["mail"]


async def test_many_are_added_all_or_none_and_the_transaction_goes_on(
    caller: Caller, pool: Pool, small_chunks: None
) -> None:
    async with caller.transaction():
        await caller.add_job("before")
        with pytest.raises(JobKeyTooLong) as caught:
            await caller.add_jobs(iter([*MANY, BAD]))
        await caller.add_job("after")

    assert caught.value.position == len(MANY)
    assert await tasks(pool) == ["before", "after"]


async def test_many_that_begin_a_transaction_in_vain_leave_it_usable(
    caller: Caller, pool: Pool, small_chunks: None
) -> None:
    async with caller.transaction():
        with pytest.raises(JobKeyTooLong):
            await caller.add_jobs([*MANY, BAD])
        await caller.add_job("after")

    assert await tasks(pool) == ["after"]


async def test_a_job_that_breaks_a_rule_leaves_the_transaction_usable(
    caller: Caller, pool: Pool
) -> None:
    async with caller.transaction():
        await caller.add_job("before")
        with pytest.raises(InvalidJob):
            await caller.add_job("")
        await caller.add_job("after")

    assert await tasks(pool) == ["before", "after"]


async def test_an_iterable_that_fails_undoes_what_it_gave(
    caller: Caller, pool: Pool, small_chunks: None
) -> None:
    def jobs() -> Any:
        yield from MANY
        raise FileNotFoundError("orders.csv")

    async with caller.transaction():
        with pytest.raises(FileNotFoundError, match=r"orders\.csv"):
            await caller.add_jobs(jobs())

    assert await tasks(pool) == []


async def test_no_jobs_are_no_trouble(caller: Caller, pool: Pool) -> None:
    assert await caller.add_jobs([]) == []

"""What is cleaned up, and what is not."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from kongtask import TaskSpec, WorkerUtils
from kongtask.errors import ConfigurationError

SCHEMA = "graphile_worker"


@pytest.fixture
async def utils(pool: asyncpg.Pool[Any]) -> WorkerUtils:
    utils = WorkerUtils(pool)
    failed, held, _ = await utils.add_jobs(
        [
            ("a", {}, TaskSpec(queue_name="q1")),
            ("b", {}, None),
            ("c", {}, TaskSpec(queue_name="q2")),
        ]
    )
    await utils.permanently_fail_jobs([failed.id, held.id])
    await pool.execute(
        f"update {SCHEMA}._private_jobs set attempts = 30, "
        f"locked_at = case when id = {held.id} then now() end"
    )
    await pool.execute(f"insert into {SCHEMA}._private_tasks (identifier) values ('d'), ('e')")
    return utils


async def names(pool: asyncpg.Pool[Any], table: str, column: str) -> list[str]:
    return [row[0] for row in await pool.fetch(f"select {column} from {SCHEMA}.{table} order by 1")]


async def test_failed_jobs_that_nobody_holds_go(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    assert await utils.cleanup(["delete_permafailed_jobs"]) == {"delete_permafailed_jobs": 2}
    assert await pool.fetchval(f"select count(*) from {SCHEMA}._private_jobs") == 1


async def test_queues_without_jobs_go_by_default(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    await utils.cleanup(["delete_permafailed_jobs"])
    await pool.execute(
        f"insert into {SCHEMA}._private_job_queues (queue_name, locked_at) values ('held', now())"
    )

    assert await utils.cleanup() == {"gc_job_queues": 2}
    assert await names(pool, "_private_job_queues", "queue_name") == ["held"]


async def test_tasks_go_unless_kept_used_or_announced(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    await pool.execute(
        f"insert into {SCHEMA}._kongtask_pools (pool_id, host, concurrency, tasks) "
        "values ('p', 'h', 1, '{e}')"
    )
    await pool.execute(f"insert into {SCHEMA}._private_tasks (identifier) values ('kept')")

    gone = await utils.cleanup(["gc_task_identifiers"], task_identifiers_to_keep=["kept"])

    assert gone == {"gc_task_identifiers": 1}
    assert await names(pool, "_private_tasks", "identifier") == ["a", "b", "c", "e", "kept"]


async def test_unknown_steps_are_refused_before_anything_is_done(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    with pytest.raises(
        ConfigurationError, match="cleanup cannot 'all': write some of delete_perma"
    ):
        await utils.cleanup(["delete_permafailed_jobs", "all"])  # type: ignore[list-item]
    assert await pool.fetchval(f"select count(*) from {SCHEMA}._private_jobs") == 3


@pytest.mark.parametrize(
    ("state", "expected"),
    [("waiting", ["due"]), ("scheduled", ["later"]), ("running", ["held"]), ("failed", ["dead"])],
    ids=str,
)
async def test_jobs_are_listed_by_state(
    pool: asyncpg.Pool[Any], state: Any, expected: list[str]
) -> None:
    utils = WorkerUtils(pool)
    _, later, held, dead = await utils.add_jobs(
        [(task, {}, None) for task in ("due", "later", "held", "dead")]
    )
    await utils.permanently_fail_jobs([dead.id])
    await pool.execute(f"update {SCHEMA}._private_jobs set locked_at = now() where id = {held.id}")
    await pool.execute(
        f"update {SCHEMA}._private_jobs set run_at = now() + interval '1 day' where id = {later.id}"
    )

    assert [job.task_identifier for job in await utils.list_jobs(state)] == expected


async def test_a_state_that_is_none_is_refused(pool: asyncpg.Pool[Any]) -> None:
    with pytest.raises(ConfigurationError, match="state must be one of waiting, scheduled"):
        await WorkerUtils(pool).list_jobs("lost")  # type: ignore[arg-type]

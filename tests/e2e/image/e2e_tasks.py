"""Tasks that write down each of their runs, so that a test can count them.

The tables `runs` and `gates` are made by the test, in the database that the jobs are in.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kongtask import task

LOOK = 0.2
"""Seconds between two looks whether a gate is open."""


@asynccontextmanager
async def written_down(helpers: Any) -> AsyncIterator[None]:
    """Write down that a run began, and that it came to its end if it does."""
    job = helpers.job
    run = await helpers.pool.fetchval(
        "insert into runs (job_id, task, attempt, pod, version) values ($1, $2, $3, $4, $5)"
        " returning id",
        int(job.id), job.task_identifier, job.attempts,
        os.environ["POD_NAME"], os.environ["E2E_VERSION"],
    )  # fmt: skip
    yield
    await helpers.pool.execute("update runs set finished_at = now() where id = $1", run)


@task
async def quick(payload: Any, helpers: Any) -> None:
    """Take as many seconds as the payload says, none if it says nothing."""
    async with written_down(helpers):
        await asyncio.sleep((payload or {}).get("seconds", 0))


@task
async def gated(payload: Any, helpers: Any) -> None:
    """End when the gate of this name, or every gate, is open."""
    async with written_down(helpers):
        while not await _is_open(helpers, payload["gate"]):  # noqa: ASYNC110  (a row, no event)
            await asyncio.sleep(LOOK)


async def _is_open(helpers: Any, gate: str) -> bool:
    sql = "select exists (select from gates where name in ($1, 'every'))"
    return bool(await helpers.pool.fetchval(sql, gate))


@task
async def failing(payload: Any, helpers: Any) -> None:
    """Fail until the attempt that the payload names."""
    async with written_down(helpers):
        if helpers.job.attempts < payload["until"]:
            raise ValueError(f"attempt {helpers.job.attempts} fails as asked")


@task
async def forwarding(payload: Any, helpers: Any) -> None:
    """Add another job."""
    async with written_down(helpers):
        await helpers.add_job("quick", {})

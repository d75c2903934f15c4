"""A folder with tasks, and a way to look into the queue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from dev_process import TASKS
from postgres_server import run

from kongtask.worker_utils import WorkerUtils


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds tasks.py."""
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


Adding = Callable[..., None]


@pytest.fixture
def add(database_url: str) -> Adding:
    """Adds jobs of one task to the test's database, one for each payload."""

    async def adding(task: str, payloads: tuple[dict[str, Any], ...]) -> None:
        async with await WorkerUtils.connect(database_url) as utils:
            for payload in payloads:
                await utils.add_job(task, payload)

    return lambda task, *payloads: run(adding(task, payloads))


@pytest.fixture
def jobs(database_url: str) -> Callable[[], list[tuple[bool, int]]]:
    """Tells of each job in the test's database whether it is locked, and its attempts."""

    async def reading() -> list[tuple[bool, int]]:
        connection = await asyncpg.connect(database_url)
        try:
            rows = await connection.fetch(
                "select locked_at is not null as locked, attempts "
                "from graphile_worker._private_jobs order by id"
            )
            return [(row["locked"], row["attempts"]) for row in rows]
        finally:
            await connection.close()

    return lambda: run(reading())

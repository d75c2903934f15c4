"""The log says one line for each run that ended, and what the pool is up to."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until
from worker_words import Heard, Lines, options

from kongtask import Helpers, ShutdownTimeout, TaskSpec, WorkerUtils, run_task_list
from kongtask.worker.job_log import log_jobs

Pool: TypeAlias = "asyncpg.Pool[Any]"


async def test_each_run_that_ended_is_one_line(pool: Pool) -> None:
    hanging = asyncio.Event()

    async def good(payload: object, helpers: Helpers) -> None:
        return None

    async def bad(payload: object, helpers: Helpers) -> None:
        raise ValueError("no such address")

    async def hang(payload: object, helpers: Helpers) -> None:
        hanging.set()
        await asyncio.Event().wait()

    lines, heard = Lines(), Heard()
    log_jobs(heard.bus, lines)
    utils = WorkerUtils(pool)
    await utils.add_job("good")
    await utils.add_job("bad", spec=TaskSpec(max_attempts=2))
    await utils.add_job("bad", spec=TaskSpec(max_attempts=1))
    await utils.add_job("hang")
    tasks = {"good": good, "bad": bad, "hang": hang}
    workers = await run_task_list(
        tasks, pool, options(events=heard.bus, drain_timeout=timedelta(0))
    )
    await hanging.wait()
    await until(lambda: len(heard.data("job:complete")) == 3)
    with pytest.raises(ShutdownTimeout):
        await workers.release()

    took = r"\d+ ms"
    expected = [
        ("info", rf"^completed good \(job 1\) in {took}$"),
        ("error", rf"^failed bad \(job 2\) after {took}, attempt 1 of 2, again in 2\.7 s: no such"),
        (
            "error",
            rf"^failed bad \(job 3\) after {took} for good, attempt 1 of 1: no such address$",
        ),
        ("info", "^draining: released$"),
        ("warn", rf"^gave back hang \(job 4\) after {took}$"),
        ("info", "^stopped$"),
    ]
    said = [line for line in lines.lines if line[0] != "debug"]
    for (level, pattern), (found, message, _) in zip(expected, said, strict=True):
        assert found == level
        assert re.search(pattern, message), message
    completed = said[0][2]
    assert {
        "task": "good",
        "job": 1,
        "attempt": 1,
        "outcome": "success",
    }.items() <= completed.items()
    assert isinstance(said[1][2]["exception"], ValueError)

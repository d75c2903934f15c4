"""How fast one named queue goes: jobs one after the other, as a ratio to jobs without a queue.

Run it with DATABASE_URL naming a database that may be written to:
    .venv/bin/python benchmarks/serial_queue.py
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from typing import Any

import kongtask

JOBS = 2000
ROUNDS = 5
SCHEMA = "kongtask_benchmark"


async def drain(utils: kongtask.WorkerUtils, queue: str | None) -> float:
    """Add jobs, run them all, and return jobs a second."""
    spec = kongtask.TaskSpec(queue_name=queue)
    await utils.add_jobs([("nothing", {}, spec) for _ in range(JOBS)], return_jobs=False)
    left, done = JOBS, asyncio.Event()

    async def nothing(payload: Any, helpers: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    options = kongtask.WorkerPoolOptions(concurrency=4, schema=SCHEMA, no_handle_signals=True)
    begun = time.perf_counter()
    async with await kongtask.run_task_list({"nothing": nothing}, utils.pool, options):
        await done.wait()
        return JOBS / (time.perf_counter() - begun)


async def main() -> None:
    """Print the medians and their ratio."""
    async with await kongtask.WorkerUtils.connect(os.environ["DATABASE_URL"], SCHEMA) as utils:
        await utils.migrate()
        serial, parallel = [], []
        for _ in range(ROUNDS):
            serial.append(await drain(utils, "one"))
            parallel.append(await drain(utils, None))
    queue, free = statistics.median(serial), statistics.median(parallel)
    print(f"one queue: {queue:.0f} jobs/s, {queue / free:.3f} of {free:.0f} jobs/s without a queue")


asyncio.run(main())

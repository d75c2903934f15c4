"""Measures the database that a queue is to live on, in a schema of its own.

Each number is what a user's own program would see, through the same calls. It judges nothing, and
leaves nothing behind. Every step ends when its time is over, however slow the database is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from kongtask.clock import Clock
from kongtask.core.bench import Measured
from kongtask.errors import StoreUnavailable
from kongtask.postgres.pool import close_pool, open_pool
from kongtask.postgres.scratch import Probe, check_connections, clear, durability, scratch_schema
from kongtask.worker.options import WorkerPoolOptions
from kongtask.worker.pool import WorkerPool
from kongtask.worker_utils import WorkerUtils

if TYPE_CHECKING:
    import asyncpg

TASK = "nothing"
CHUNK = 1000
CONCURRENCY = 10
REPETITIONS = 300
PATIENCE = 2.0
"""Seconds that a step with repetitions takes at most."""

LONGEST = 5.0
"""Seconds that adding in bulk, and draining, take at most, each."""

LEAST = 3
"""Repetitions that are made although time is over."""

CONNECTIONS = 5
"""Connections that are open at once: a worker's four, and the one that adds jobs."""

LATEST = 30.0
"""Seconds after which a job that does not start ends the measurement."""

Tell = Callable[[str], None]


async def run_bench(url: str, schema: str, jobs: int, tell: Tell) -> Measured:
    """Measure, and return the numbers. `tell` is called with a line as each step begins.

    Raises `ConfigurationError` when the schema exists, and `StoreUnavailable`.
    """
    pool = await open_pool(url, max_size=CONCURRENCY)
    try:
        await check_connections(pool, schema, CONNECTIONS)
        async with scratch_schema(pool, schema):
            return await _Bench(url, schema, pool, tell).measured(jobs)
    finally:
        await close_pool(pool)


@dataclass(frozen=True, slots=True)
class _Drain:
    drained: int
    per_second: float
    busy: float


class _Bench:
    def __init__(self, url: str, schema: str, pool: asyncpg.Pool[Any], tell: Tell) -> None:
        self._url = url
        self._schema = schema
        self._pool = pool
        self._tell = tell
        self._clock = Clock()
        self._utils = WorkerUtils(pool, schema)

    async def measured(self, jobs: int) -> Measured:
        async with self._pool.acquire() as connection:
            probe = Probe(connection, self._schema)
            self._tell("measuring round trips and commits")
            round_trip = 1000 * median(await self._times(probe.round_trip))
            commit = 1000 * median(await self._times(probe.commit))
        adds = await self._adds_per_second()
        bulk = await self._bulk_adds_per_second(jobs)
        drain = await self._drain()
        start, start_p99 = await self._start()
        fsync, synchronous_commit = await durability(self._pool)
        return Measured(
            round_trip_ms=round_trip, commit_ms=commit, adds_per_second=adds,
            bulk_adds_per_second=bulk, drained=drain.drained,
            drained_per_second=drain.per_second, busy=drain.busy, start_ms=start,
            start_p99_ms=start_p99, fsync=fsync, synchronous_commit=synchronous_commit,
        )  # fmt: skip

    async def _times(self, call: Callable[[], Awaitable[object]]) -> list[float]:
        """Return the seconds of many calls, one after the other; the first does not count."""
        await call()
        clock, taken = self._clock, list[float]()
        end = clock.monotonic() + PATIENCE
        while len(taken) < REPETITIONS and (len(taken) < LEAST or clock.monotonic() < end):
            began = clock.monotonic()
            await call()
            taken.append(clock.monotonic() - began)
        return taken

    async def _adds_per_second(self) -> float:
        self._tell("adding jobs one by one")
        taken = await self._times(lambda: self._utils.add_job(TASK, {"to": "nobody"}))
        return len(taken) / sum(taken)

    async def _bulk_adds_per_second(self, jobs: int) -> float:
        self._tell(f"adding {jobs:,} jobs, {CHUNK:,} in a call")
        began, added, seconds = self._clock.monotonic(), 0, 0.0
        while added < jobs and seconds < LONGEST:
            size = min(CHUNK, jobs - added)
            await self._utils.add_jobs([(TASK, {"to": "nobody"}, None)] * size)
            added += size
            seconds = self._clock.monotonic() - began
        if added < jobs:
            self._tell(f"that took too long, going on with {added:,}")
        return added / seconds

    async def _drain(self) -> _Drain:
        """Run what was added, with nothing to do in each job."""
        self._tell("running them")
        done = 0

        async def nothing(_payload: Any, _helpers: Any) -> None:
            nonlocal done
            done += 1

        workers = self._workers(nothing, once=True)
        began, worked = self._clock.monotonic(), _cpu_seconds()
        await workers.start()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST):
                    await workers.wait()
        finally:
            await workers.release()
        seconds = self._clock.monotonic() - began
        busy = min(1.0, (_cpu_seconds() - worked) / seconds)
        return _Drain(done, done / seconds, busy)

    async def _start(self) -> tuple[float, float]:
        """Return the median, and what 99 of 100 stay below, of the time from adding to starting."""
        self._tell("adding jobs to a worker that waits for them")
        await clear(self._pool, self._schema)  # or it would run those that are left
        started = asyncio.Event()

        async def notice(_payload: Any, _helpers: Any) -> None:
            started.set()

        async def add_and_await() -> None:
            started.clear()
            await self._utils.add_job(TASK)
            async with asyncio.timeout(LATEST):
                await started.wait()

        workers = self._workers(notice, once=False)
        await workers.start()
        try:
            taken = [1000 * each for each in await self._times(add_and_await)]
        except TimeoutError as error:
            raise StoreUnavailable(
                f"a job did not start within {LATEST:g} s of being added: the database is too busy "
                "to be measured"
            ) from error
        finally:
            await workers.release()
        return median(taken), quantiles(taken, n=100, method="inclusive")[98]

    def _workers(self, handler: Any, *, once: bool) -> WorkerPool:
        options = WorkerPoolOptions(
            concurrency=CONCURRENCY, schema=self._schema, no_handle_signals=True,
            worker_name="bench", drain_timeout=timedelta(seconds=LONGEST),
        )  # fmt: skip
        return WorkerPool({TASK: handler}, self._pool, options, once=once, dsn=self._url)


def _cpu_seconds() -> float:
    return sum(os.times()[:2])

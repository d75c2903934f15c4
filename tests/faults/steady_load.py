"""Jobs that come at a steady rate, and what the server says that fetching them costs."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from statistics import mean, median

from durable_server import DurableServer
from fault_words import connected

from kongtask.postgres.enqueue import JobQueue
from kongtask.postgres.statements import statement

BATCH = 0.1
"""Seconds between two batches."""

TELLING = {"log_min_duration_sample": "0", "log_statement_sample_rate": "0.2"}
"""Settings with which a server logs how long every fifth statement took."""

WALKED = """select sum(idx_scan)::int, sum(idx_tup_read)::bigint from pg_stat_user_indexes
    where indexrelname in ('jobs_main_index', 'jobs_no_queue_index')"""
"""Only fetches scan these two. Entries count also when the row they lead to is dead."""

FETCHES = [
    statement(name, "graphile_worker").partition("\n")[0]
    for name in ("fetch_jobs", "fetch_unqueued_jobs")
]
FETCH = re.compile(
    rf"duration: ([\d.]+) ms  execute [^:]*: (?:{'|'.join(map(re.escape, FETCHES))})\n"
)
"""How the log tells of a fetch: its first line."""


class SteadyLoad:
    """Adds jobs numbered from 0 on; `added` is how many."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.added = 0

    async def add(self, rate: int, seconds: float) -> float:
        """Add so many a second, a batch every tenth; return how late the last batch was."""
        size, began, late = round(rate * BATCH), time.monotonic(), 0.0
        async with connected(self._url) as connection:
            queue = JobQueue(connection, "graphile_worker")
            for number in range(round(seconds / BATCH)):
                await asyncio.sleep(max(0.0, began + number * BATCH - time.monotonic()))
                new = range(self.added, self.added + size)
                jobs = [("work", {"n": each, "seconds": 0}, None) for each in new]
                await queue.add_jobs(jobs, return_jobs=False)
                self.added += size
                late = time.monotonic() - began - number * BATCH
        return late


@dataclass(frozen=True, slots=True)
class FetchCost:
    """What a fetch cost for a while: entries of indexes that it walked over, and milliseconds."""

    fetches: int
    entries: float
    median: float
    mean: float

    def __str__(self) -> str:
        return (
            f"{self.fetches} fetches, of {self.entries:.0f} index entries on average, "
            f"median {self.median:.2f} ms, mean {self.mean:.2f} ms"
        )


class FetchCosts:
    """Asks a server for them while after while."""

    def __init__(self, server: DurableServer, url: str) -> None:
        self._log = server.folder / "log"
        self._url = url
        self._read = 0
        self._walked = (0, 0)

    async def since(self) -> FetchCost:
        """What fetches cost since this was asked last."""
        async with connected(self._url) as connection:
            row = await connection.fetchrow(WALKED)
        assert row is not None
        fetches, entries = row[0] - self._walked[0], row[1] - self._walked[1]
        self._walked = (row[0], row[1])
        with self._log.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        self._read += len(text)
        times = [float(each) for each in FETCH.findall(text.decode(errors="replace"))]
        return FetchCost(fetches, entries / max(fetches, 1), median(times), mean(times))

"""The ceiling: asyncpg on Graphile Worker's tables, and nothing that makes a job queue of it.

It fetches 500 jobs while it runs the 500 before and deletes those before them. It knows no retries,
no named queues, no shutdown, no lost connection. Its SQL also fills the tables for the others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from protocol import Order, Work, serve

JOBS = "graphile_worker._private_jobs"
FETCH = f"""
with due as (
  select id from {JOBS} where is_available and run_at <= now() and task_id = any($1::int[])
  order by priority, run_at limit 500 for update skip locked
)
update {JOBS} as jobs set attempts = attempts + 1, locked_at = now(), locked_by = 'raw'
from due where jobs.id = due.id returning jobs.id, jobs.payload
"""
DELETE = f"delete from {JOBS} where id = any($1::bigint[])"
ADD_ONE = "select graphile_worker.add_job('bench', $1::json)"
PRODUCE = f"""
with added as (
  insert into {JOBS} (task_id, payload)
  select id, $1::json from graphile_worker._private_tasks where identifier = 'bench'
  returning 1
)
select pg_notify('jobs:insert', format('{{"r":%s,"count":1}}', random())) from added
"""
ADD_MANY = """
select from graphile_worker.add_jobs(array(
  select row('bench', payload, queue, $3::timestamptz, null, null, null, null)
    ::graphile_worker.job_spec
  from unnest($1::json[], $2::text[]) as given (payload, queue)
))
"""
TASK = """
insert into graphile_worker._private_tasks as tasks (identifier) values ('bench')
on conflict (identifier) do update set identifier = excluded.identifier returning id
"""
IN_A_DAY = "select now() + interval '1 day'"


async def _leave_alone(connection: Any) -> None:
    """Save the statement that a pool sends for each connection that is given back."""


class Raw:
    """asyncpg alone."""

    def __init__(self, order: Order) -> None:
        self._order = order
        # What `add_job` comes to. At a steady rate it would need most of a processor for itself.
        self._add_one = PRODUCE if order.role == "produce" else ADD_ONE

    async def open(self) -> None:
        self._pool = await asyncpg.create_pool(
            self._order.dsn, min_size=10, max_size=10, reset=_leave_alone
        )

    async def close(self) -> None:
        await self._pool.close()

    async def add_many(self, payloads: list[dict[str, Any]], queues: list[str | None]) -> None:
        texts = [json.dumps(payload) for payload in payloads]
        await self._pool.execute(ADD_MANY, texts, queues, None)
        if self._order.future:
            await self._pool.execute(ADD_MANY, texts, queues, await self._pool.fetchval(IN_A_DAY))

    async def add_one(self, payload: dict[str, Any]) -> None:
        await self._pool.execute(self._add_one, json.dumps(payload))

    @asynccontextmanager
    async def working(self, work: Work) -> AsyncIterator[None]:
        await self.open()
        running = asyncio.create_task(self._run(work))
        yield
        running.cancel()

    async def _run(self, work: Work) -> None:
        async with self._pool.acquire() as fetching, self._pool.acquire() as deleting:
            tasks = [await fetching.fetchval(TASK)]
            jobs = await fetching.fetch(FETCH, tasks)
            deleted = asyncio.create_task(asyncio.sleep(0))
            while jobs:
                following = asyncio.create_task(fetching.fetch(FETCH, tasks))
                for job in jobs:
                    await work.handle(json.loads(job["payload"]), 1)
                await deleted
                ids = [job["id"] for job in jobs]
                deleted = asyncio.create_task(deleting.execute(DELETE, ids))
                jobs = await following
            await deleted


serve(Raw)

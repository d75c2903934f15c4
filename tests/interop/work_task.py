"""The task that both sides run in the tests: host.mjs has the same in JavaScript.

A run writes itself down, then does what its payload says:

    lock       waits until nobody else holds this advisory lock of the database
    hold       waits until the gate of this name is opened in its own process
    queue      writes down when it ended, too
    fail_once  fails its first attempt
    fail       fails with this text
    thrown     Node only: throws this, which is no Error
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import defaultdict
from typing import Any

from kongtask import Helpers, task

RUNS = """
create table runs (
    id bigserial primary key,
    side text not null,
    process text not null,
    pool text not null,
    job_id bigint not null,
    attempts int not null,
    payload jsonb not null,
    started timestamptz not null default clock_timestamp(),
    ended timestamptz
)
"""
GATES: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

_BEGIN = """
insert into runs (side, process, pool, job_id, attempts, payload)
values ('python', $1, $2, $3, $4, $5::text::jsonb) returning id
"""
_END = "update runs set ended = clock_timestamp() where id = $1"


@task
async def work(payload: Any, helpers: Helpers) -> None:
    """Write down the run and do what the payload says."""
    job = helpers.job
    run = await helpers.pool.fetchval(
        _BEGIN, os.environ.get("PROCESS_NAME", ""), job.locked_by, job.id, job.attempts,
        json.dumps(payload),
    )  # fmt: skip
    wishes = payload if isinstance(payload, dict) else {}
    if lock := wishes.get("lock"):
        await helpers.pool.execute("select pg_advisory_xact_lock($1)", lock)
    if gate := wishes.get("hold"):
        await GATES[gate].wait()
    if wishes.get("queue"):
        await helpers.pool.execute(_END, run)
    if wishes.get("fail_once") and job.attempts == 1:
        raise RuntimeError("the first time fails")
    if text := wishes.get("fail"):
        raise RuntimeError(text)

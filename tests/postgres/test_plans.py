"""How PostgreSQL finds what statements ask for, where tables tempt it to do otherwise."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from kongtask import TaskSpec, WorkerUtils
from kongtask.postgres.life import LifeStore, PoolIdentity
from kongtask.postgres.statements import statement

SCHEMA = "graphile_worker"


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A session that plans as those of workers do."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(statement("plan_by_index", SCHEMA))
    yield connection
    await connection.close()


async def test_a_fetch_looks_up_the_queues_of_its_jobs_only(
    session: asyncpg.Connection[Any],
) -> None:
    """Joining them with all queues seems worth it, if the statement leaves a choice."""
    specs = [("work", None, TaskSpec(queue_name=f"queue {n % 500}")) for n in range(20_000)]
    await WorkerUtils(session).add_jobs(specs, return_jobs=False)
    await session.execute("vacuum analyze")
    task = await session.fetchval(f"select id from {SCHEMA}._private_tasks")
    await session.execute(f"prepare looking as {statement('fetch_jobs', SCHEMA)}")
    plan = await session.fetchval(
        "explain (analyze, format json) "
        f"execute looking('me', array[{task}], 10, null, 1, null, null, null, true)"
    )
    found = [
        node["Actual Rows"] * node["Actual Loops"]
        for node in nodes(json.loads(plan)[0]["Plan"])
        if node.get("Relation Name") == "_private_job_queues" and "Index Name" in node
    ]
    assert found == [10, 10, 1, 10]  # to lock them, write it down, see if any exist, name them


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return all nodes of a plan."""
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


@pytest.mark.parametrize(
    "name, more",
    [("complete_jobs", 0), ("complete_unqueued_jobs", 0), ("fail_jobs", 5), ("snooze_jobs", 2),
     ("return_jobs", 0), ("return_unheld", 0)],
)  # fmt: skip
async def test_ids_are_not_compared_each_with_each(
    session: asyncpg.Connection[Any], name: str, more: int
) -> None:
    """PostgreSQL makes a hash of a query's rows, and of no array that is a parameter."""
    await session.execute(f"prepare outcome as {statement(name, SCHEMA)}")
    plan = await session.fetch(f"explain execute outcome('me', '{{}}'{', null' * more})")
    assert "<> ALL" not in "\n".join(row[0] for row in plan)


@pytest.mark.parametrize("has_session", [True, False])
async def test_a_heartbeat_is_planned_as_what_the_workers_ask(
    database_url: str, has_session: bool
) -> None:
    """PostgreSQL would compile it, for a tenth of a second, where it expects many locked jobs."""
    identity = PoolIdentity(
        pool_id="me", host="here", concurrency=1, tasks=("work",), has_session=has_session,
        recovery_timeout=timedelta(seconds=10),
    )  # fmt: skip
    async with asyncpg.create_pool(database_url, server_settings={"jit": "on"}) as pool:
        life = LifeStore(pool, SCHEMA, identity)
        await life.beat([], free=True)
        [told] = await life._session.fetch(
            "select current_setting('jit') as jit, current_setting('enable_seqscan') as seqscan, "
            "current_setting('tcp_keepalives_idle') as keepalives"
        )
        await life.close()
    assert (told["jit"], told["seqscan"]) == ("off", "off")
    assert (told["keepalives"] == "2") == has_session


async def test_a_heartbeat_looks_at_jobs_by_index(session: asyncpg.Connection[Any]) -> None:
    await WorkerUtils(session).add_jobs([("work", None, None)] * 5000, return_jobs=False)
    await session.execute(f"prepare beating as {statement('beat', SCHEMA)}")
    plan = await session.fetchval(
        "explain (format json) "
        "execute beating('me', 'here', 1, '{work}', '10 s', true, true, '{1,2,3}')"
    )
    jobs = [
        node["Node Type"]
        for node in nodes(json.loads(plan)[0]["Plan"])
        if node.get("Relation Name") == "_private_jobs" and node["Node Type"] != "ModifyTable"
    ]
    assert jobs == ["Index Scan"] * 3

"""What adding a job makes of its options, in Node and here.

The number in a row's id is that of the behaviour it shows in docs/differences.md: where the two
columns differ, KongTask means what it was told.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import pytest
from hosting import Host, NodeError
from postgres_server import temporary_database
from sides import JOBS, Node

from kongtask import InvalidJob, TaskSpec, WorkerUtils

COLUMNS = f"""
select tasks.identifier, jobs.payload::text, queues.queue_name, jobs.run_at, jobs.max_attempts,
    jobs.key, jobs.priority, jobs.flags::text, jobs.attempts, jobs.revision
from {JOBS} as jobs
join graphile_worker._private_tasks as tasks on tasks.id = jobs.task_id
left join graphile_worker._private_job_queues as queues on queues.id = jobs.job_queue_id
"""
LONG = "x" * 600


class Row(NamedTuple):
    """An option, and what stands in a column afterwards, or the error's code."""

    name: str
    option: str
    value: object
    node: object
    node_many: object
    python: object


MADE = {
    "queue_name": ("queueName", "queue_name"),
    "max_attempts": ("maxAttempts", "max_attempts"),
    "job_key": ("jobKey", "key"),
    "job_key_mode": ("jobKeyMode", "key"),
    "priority": ("priority", "priority"),
    "flags": ("flags", "flags"),
}
"""How an option is called in JavaScript, and the column it ends up in."""

TABLE = [
    Row("0 attempts", "max_attempts", 0, 25, "jobs_max_attempts_check", "GWBMA"),
    Row("-1 attempts", "max_attempts", -1, *["jobs_max_attempts_check"] * 2, "GWBMA"),
    Row("1 attempt", "max_attempts", 1, 1, 1, 1),
    Row("most attempts", "max_attempts", 32767, 32767, 32767, 32767),
    Row("too many attempts", "max_attempts", 32768, "22003", "22003", "GWBMA"),
    Row("an empty queue", "queue_name", "", None, "", ""),
    Row("a queue", "queue_name", "q", "q", "q", "q"),
    Row("a long queue", "queue_name", LONG, *["job_queues_queue_name_check"] * 2, "GWBQN"),
    Row("an empty key", "job_key", "", None, "jobs_key_check", "GWBJK"),
    Row("a key", "job_key", "k", "k", "k", "k"),
    Row("a long key", "job_key", LONG, *["jobs_key_check"] * 2, "GWBJK"),
    Row("priority 0", "priority", 0, 0, 0, 0),
    Row("a priority below 0", "priority", -7, -7, -7, -7),
    Row("a priority too high", "priority", 40000, "22003", "22003", ""),
    Row("no flags", "flags", [], None, None, None),
    Row("flags", "flags", ["b", "a", "b"], *['{"a": true, "b": true}'] * 3),
]
"""Behaviours 4 and 20: errors have constraints, falsy options are dropped by `addJob` in Node."""


@pytest.fixture(scope="module")
def database_url(server_url: str, migrated_template: str) -> Iterator[str]:
    """One database for all of them: no job stays."""
    with temporary_database(server_url, migrated_template) as url:
        yield url


@pytest.fixture
async def npm(host: Host, database_url: str, pool: Any) -> Node:
    await pool.execute(f"truncate {JOBS}")
    return Node(host, database_url)


async def outcome(pool: asyncpg.Pool[Any], added: Any, column: str) -> object:
    """Return what adding put into a column, or what it was refused with."""
    try:
        await added
    except NodeError as error:
        return error.constraint or error.code
    except InvalidJob as error:
        return error.code
    rows = await pool.fetch(COLUMNS)
    await pool.execute(f"truncate {JOBS}")
    assert len(rows) == 1
    return rows[0][column]


@pytest.mark.parametrize("row", TABLE, ids=[row.name for row in TABLE])
async def test_what_becomes_of_an_option(npm: Node, pool: Any, row: Row) -> None:
    camel, column = MADE[row.option]
    utils, spec = WorkerUtils(pool), TaskSpec(**{row.option: row.value})  # type: ignore[arg-type]
    many = [{"identifier": "t", "payload": {}, camel: row.value}]

    assert [
        await outcome(pool, npm.utils("addJob", "t", {}, {camel: row.value}), column),
        await outcome(pool, npm.utils("addJobs", many), column),
        await outcome(pool, utils.add_job("t", {}, spec), column),
        await outcome(pool, utils.add_jobs([("t", {}, spec)]), column),
    ] == [row.node, row.node_many, row.python, row.python]


ALL = {
    "queueName": "q", "runAt": "2040-01-02T03:04:05.678Z", "maxAttempts": 3, "jobKey": "k",
    "jobKeyMode": "preserve_run_at", "priority": -5, "flags": ["f"],
}  # fmt: skip


async def test_a_job_with_every_option_is_the_same_row_from_everywhere(
    npm: Node, pool: Any
) -> None:
    """Behaviour 20: addJob, quickAddJob, addJobs, add_job and add_jobs."""
    payload = {"ä": [1, None, {"b": 1.5}]}
    found = []

    async def keep() -> None:
        (row,) = await pool.fetch(COLUMNS)
        found.append(tuple(row)[:1] + tuple(row)[2:])
        await pool.execute(f"truncate {JOBS}")

    await npm.utils("addJob", "t", payload, ALL)
    await keep()
    await npm.host.call("quickAddJob", url=npm.url, args=["t", payload, ALL])
    await keep()
    await npm.utils("addJobs", [{"identifier": "t", "payload": payload, **ALL}], True)
    await keep()
    spec = _spec_of_all()
    await WorkerUtils(pool).add_job("t", payload, spec)
    await keep()
    await WorkerUtils(pool).add_jobs([("t", payload, spec)])
    await keep()

    assert len(found) == 5
    assert set(found) == {found[0]}


def _spec_of_all() -> TaskSpec:
    return TaskSpec(
        queue_name="q", run_at=datetime.fromisoformat("2040-01-02T03:04:05.678+00:00"),
        max_attempts=3, job_key="k", job_key_mode="preserve_run_at", priority=-5, flags=["f"],
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["bogus", "REPLACE"])
async def test_a_strange_key_mode_is_refused_by_both(npm: Node, pool: Any, mode: str) -> None:
    """Behaviour 4: the one code that is left in the database."""
    spec = TaskSpec(job_key="k", job_key_mode=mode)  # type: ignore[arg-type]
    options = {"jobKey": "k", "jobKeyMode": mode}

    assert await outcome(pool, npm.utils("addJob", "t", {}, options), "key") == "GWBKM"
    assert await outcome(pool, WorkerUtils(pool).add_job("t", {}, spec), "key") == "GWBKM"
    assert await pool.fetch(COLUMNS) == []


async def test_long_task_names_are_refused_by_both(npm: Node, pool: Any) -> None:
    """Behaviour 4."""
    refused = "tasks_identifier_check"
    assert await outcome(pool, npm.utils("addJob", LONG, {}), "identifier") == refused
    assert await outcome(pool, WorkerUtils(pool).add_job(LONG, {}), "identifier") == "GWBID"


@pytest.mark.parametrize("payload", [None, {}, [], 0, "", False, "text", [1, {"a": None}]])
async def test_payloads_are_the_same_from_both(npm: Node, pool: Any, payload: object) -> None:
    found = [
        await outcome(pool, npm.utils("addJob", "t", payload), "payload"),
        await outcome(pool, WorkerUtils(pool).add_job("t", payload), "payload"),
    ]
    assert found[0].replace(" ", "") == found[1].replace(" ", "")  # type: ignore[attr-defined]


async def test_only_here_do_many_jobs_come_back_in_order(npm: Node, pool: Any) -> None:
    """Behaviour 21: Node returns rows in any order and names them by their place."""
    names = list("babac")
    theirs = await npm.utils("addJobs", [{"identifier": name, "payload": {}} for name in names])
    ours = await WorkerUtils(pool).add_jobs([(name, {}, None) for name in names])
    told = [(job["id"], job["task_identifier"]) for job in theirs]
    told += [(str(job.id), job.task_identifier) for job in ours]
    query = (
        "select jobs.id::text, tasks.identifier from graphile_worker._private_jobs as jobs "
        "join graphile_worker._private_tasks as tasks on tasks.id = jobs.task_id"
    )
    true = dict(tuple(row) for row in await pool.fetch(query))

    assert [name for _, name in told] == names * 2
    assert sorted(true[job_id] for job_id, _ in told[:5]) == sorted(names)
    assert [true[job_id] for job_id, _ in told[5:]] == names

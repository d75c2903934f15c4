"""Jobs added on one side run on the other, through the programs that users start."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from typing import Any

import pytest
from graphile import FOLDER, SCHEMA, Graphile, finished

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def notes(migrated: Any) -> Any:
    """A connection to a database with a table in which tasks write down what they were given."""
    await migrated.execute("create table notes (runner text, payload json, key text)")
    return migrated


async def kongtask(url: str, *arguments: str) -> str:
    """Run the command line; return what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kongtask", *arguments, "-c", url,
        cwd=FOLDER, stdin=PIPE, stdout=PIPE, stderr=STDOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    return await finished(process)


async def written(notes: Any) -> list[tuple[str, object, str | None]]:
    rows = await notes.fetch("select runner, payload::text, key from notes order by key")
    return [(row["runner"], json.loads(row["payload"]), row["key"]) for row in rows]


async def left(notes: Any) -> int:
    return int(await notes.fetchval(f"select count(*) from {SCHEMA}._private_jobs"))


async def test_graphile_worker_runs_what_kongtask_adds(
    node: Graphile, notes: Any, database_url: str
) -> None:
    for payload, *options in (
        ('{"to": "añ\\u0000n", "n": 1}', "--key", "a"),
        ("[1, null]", "--key", "b", "--queue", "q", "--flag", "f"),
        ("{}", "--key", "c", "--priority", "-3", "--max-attempts", "2"),
    ):
        await kongtask(database_url, "add", "--force", "note", payload, *options)
    await notes.execute(
        f"update {SCHEMA}._private_jobs set traceparent = '{TRACEPARENT}' where key = 'a'"
    )
    before = await notes.fetch(f"select * from {SCHEMA}.migrations order by id")

    log = await node.run_once(database_url)

    assert await written(notes) == [
        ("node", {"to": "añ\0n", "n": 1}, "a"), ("node", [1, None], "b"), ("node", {}, "c"),
    ], log  # fmt: skip
    assert await left(notes) == 0
    assert await notes.fetch(f"select * from {SCHEMA}.migrations order by id") == before


async def test_kongtask_runs_what_graphile_worker_adds(
    node: Graphile, notes: Any, database_url: str
) -> None:
    payload = {"to": "añn 😀", "n": 1.5, "list": [None, {}]}
    await node.call(database_url, "addJob", "note", payload, {"jobKey": "a", "queueName": "q"})
    await node.call(database_url, "addJob", "note", None, {"jobKey": "b", "priority": 3})
    await node.call(
        database_url,
        "addJobs",
        [{"identifier": "note", "payload": [1], "jobKey": "c", "queueName": "q", "flags": ["f"]}],
    )

    log = await kongtask(database_url, "worker", "--once", "-t", "python_tasks.py")

    assert await written(notes) == [
        ("python", payload, "a"), ("python", {}, "b"), ("python", [1], "c"),
    ], log  # fmt: skip
    assert await left(notes) == 0


async def test_no_job_runs_twice_where_both_work(
    node: Graphile, notes: Any, database_url: str
) -> None:
    await notes.execute(
        f"select {SCHEMA}.add_job('note', to_json(n), job_key => lpad(n::text, 3, '0')) "
        "from generate_series(1, 200) as n"
    )

    logs = await asyncio.gather(
        node.run_once(database_url),
        kongtask(database_url, "worker", "--once", "-j", "2", "-t", "python_tasks.py"),
    )

    found = await written(notes)
    assert [payload for _, payload, _ in found] == list(range(1, 201)), logs
    assert await left(notes) == 0

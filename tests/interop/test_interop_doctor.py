"""Roles and the doctor take a schema that npm's Graphile Worker made, and its workers, as ours."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from graphile import LATEST, LEVEL_19, SCHEMA, Graphile
from role_words import as_role, grant, login_role

from kongtask import WorkerUtils
from kongtask.postgres.diagnosis import diagnose
from kongtask.postgres.migrations import run_migrations


@pytest.mark.parametrize("package", [LATEST, LEVEL_19], ids=["0.18.0", "0.17.3"])
async def test_npms_functions_are_as_good_as_ours(
    node: Graphile, connection: Any, empty_database_url: str, package: str
) -> None:
    await node.migrate(empty_database_url, package=package)
    async with asyncpg.create_pool(empty_database_url, min_size=0, max_size=2) as pool:
        await run_migrations(pool)
        found = [each for each in (await diagnose(pool, SCHEMA)).findings if each.check == "drift"]
        assert [each.state for each in found] == ["fine"], found
        await connection.execute(
            f"create or replace function {SCHEMA}.complete_jobs(job_ids bigint[]) returns setof "
            f"{SCHEMA}._private_jobs language sql as "
            f"'delete from {SCHEMA}._private_jobs where id = any (job_ids) returning *'"
        )
        found = [each for each in (await diagnose(pool, SCHEMA)).findings if each.check == "drift"]
    assert [each.what for each in found] == [
        "not as the migrations made them: function complete_jobs"
    ]


async def test_a_role_that_only_adds_adds_through_npms_functions(
    node: Graphile, connection: Any, empty_database_url: str
) -> None:
    await node.migrate(empty_database_url)
    await run_migrations(connection)
    async with login_role(empty_database_url) as role:
        await grant(empty_database_url, add=role)
        async with await WorkerUtils.connect(as_role(empty_database_url, role)) as utils:
            await utils.add_job("t", {"n": 1})
            jobs = await utils.add_jobs([("t", {"n": 2}, None), ("t", {"n": 3}, None)])
    assert [job.payload for job in jobs] == [{"n": 2}, {"n": 3}]
    assert await connection.fetchval(f"select count(*) from {SCHEMA}._private_jobs") == 3


async def test_npms_worker_runs_with_a_worker_role(
    node: Graphile, migrated: Any, database_url: str
) -> None:
    async with login_role(database_url) as role:
        await grant(database_url, worker=role)
        await migrated.execute(
            "create table notes (runner text, payload json, key text); "
            f"grant insert on notes to {role}; "
            f"select {SCHEMA}.add_job('note', '{{}}', queue_name => 'q')"
        )

        said = await node.run_once(as_role(database_url, role))

        assert await migrated.fetchval(f"select count(*) from {SCHEMA}._private_jobs") == 0, said

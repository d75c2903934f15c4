"""KongTask's schema is Graphile Worker's: each opens what the other made, and finds it complete."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from graphile import LATEST, LEVEL_19, SCHEMA, Graphile, finished, make_npm_level
from schema_catalog import Catalog, read_catalog

from kongtask.postgres.migrations import check_schema, read_level, run_migrations

ADDED = {
    ("table", "_kongtask_migrations"),
    ("table", "_kongtask_pools"),
    ("column", "_private_jobs.traceparent"),
    ("column", "_private_jobs.tracestate"),
    ("index", "_kongtask_jobs_locked_index"),
    ("trigger", "_private_jobs._kongtask_take_context"),
    ("function", "_kongtask_take_context"),
    ("table", "_kongtask_added"),
    ("function", "_kongtask_add_job"),
    ("function", "_kongtask_add_any"),
    ("function", "_kongtask_add_jobs"),
    ("function", "_kongtask_add_one"),
    ("function", "_kongtask_add_plain"),
    ("function", "_kongtask_add_single"),
    ("function", "_kongtask_add_specs"),
    ("function", "_kongtask_free_keys"),
    ("function", "_kongtask_route_job"),
    ("function", "_kongtask_route_jobs"),
    ("function", "_kongtask_route_plain"),
    ("function", "_kongtask_may_insert"),
    ("constraint", "_kongtask_migrations._kongtask_migrations_pkey"),
    ("constraint", "_kongtask_pools._kongtask_pools_pkey"),
    ("index", "_kongtask_migrations_pkey"),
    ("index", "_kongtask_pools_pkey"),
}
"""Everything that stands in KongTask's schema and not in Graphile Worker's."""

STORED = ", with "
"""What stands before a table's storage settings: KongTask's own, number 44 of the differences."""

JOBS = f"""
select id, job_queue_id, task_id, payload::text, priority, run_at, attempts, max_attempts,
    last_error, created_at, updated_at, key, locked_at, locked_by, revision, flags, is_available
from {SCHEMA}._private_jobs order by id
"""


def without_additions(catalog: Catalog) -> Catalog:
    columns = ("_kongtask_pools.", "_kongtask_migrations.", "_kongtask_added.")
    return {
        (kind, name): "" if kind == "view" else text.partition(STORED)[0]
        for (kind, name), text in catalog.items()
        if (kind, name) not in ADDED and not (kind == "column" and name.startswith(columns))
    }


async def recorded(connection: Any) -> list[Any]:
    return list(await connection.fetch(f"select * from {SCHEMA}.migrations order by id"))


async def test_both_make_the_same_objects(
    node: Graphile, connection: Any, migrated: Any, empty_database_url: str
) -> None:
    await node.migrate(empty_database_url)
    theirs, ours = await read_catalog(connection), await read_catalog(migrated)

    assert without_additions(ours) == without_additions(theirs)
    assert ours.keys() >= ADDED
    stored = {name for (_, name), text in ours.items() if STORED in text}
    assert stored == {"_private_jobs", "_private_job_queues"}
    assert not any(STORED in text for text in theirs.values())
    assert [row[::2] for row in await recorded(connection)] == [
        row[::2] for row in await recorded(migrated)
    ]


@pytest.mark.parametrize("package", [LATEST, LEVEL_19], ids=["0.18.0", "0.17.3"])
async def test_graphile_worker_finds_nothing_to_migrate(
    node: Graphile, migrated: Any, database_url: str, package: str
) -> None:
    before = await recorded(migrated), await read_catalog(migrated)

    said = await node.migrate(database_url, package=package)

    assert (await recorded(migrated), await read_catalog(migrated)) == before
    assert ("only supports up to revision 19" in said) == (package == LEVEL_19)


async def make_jobs(connection: Any) -> None:
    """Jobs in every state, added through the functions of the level that is there."""
    await connection.execute(
        f"""
        select {SCHEMA}.add_job('a', '{{"b": 1, "a":  2}}', queue_name => 'q', job_key => 'k',
            priority => -3, max_attempts => 4, run_at => '2040-01-01', flags => array['f']);
        select {SCHEMA}.add_job('b', '[1, 2]');
        select {SCHEMA}.add_job('c');
        update {SCHEMA}._private_jobs set attempts = 25, last_error = 'no' where id = 2;
        update {SCHEMA}._private_jobs set locked_at = now(), locked_by = 'worker-1' where id = 3;
        """
    )


async def end_state(connection: Any, jobs: list[Any], migrated: Any) -> None:
    """Check that a schema that was taken over is like one that KongTask made."""
    assert await run_migrations(connection) == 20
    assert await connection.fetch(JOBS) == jobs
    assert without_views(await read_catalog(connection)) == without_views(
        await read_catalog(migrated)
    )
    await check_schema(connection, SCHEMA)
    job = await connection.fetchrow(f"select * from {SCHEMA}.add_job('d', job_key => 'new')")
    assert job["revision"] == 0


def without_views(catalog: Catalog) -> Catalog:
    """The text of a view keeps the aliases of whoever wrote it; its columns are compared."""
    return {key: text for key, text in catalog.items() if key[0] != "view"}


@pytest.mark.parametrize("level", [16, 17, 18, 19, 20])
async def test_a_schema_by_npms_files_is_taken_over(
    node: Graphile, connection: Any, migrated: Any, level: int
) -> None:
    await make_npm_level(connection, level)
    await make_jobs(connection)
    jobs = await connection.fetch(JOBS)
    assert (await read_level(connection, SCHEMA)).graphile == level

    await end_state(connection, jobs, migrated)


@pytest.mark.parametrize("package, level", [(LATEST, 20), (LEVEL_19, 19)], ids=["0.18.0", "0.17.3"])
async def test_a_schema_by_npm_is_taken_over(
    node: Graphile,
    connection: Any,
    migrated: Any,
    empty_database_url: str,
    package: str,
    level: int,
) -> None:
    await node.migrate(empty_database_url, package=package)
    await make_jobs(connection)
    jobs = await connection.fetch(JOBS)
    assert (await read_level(connection, SCHEMA)).graphile == level

    await end_state(connection, jobs, migrated)


async def test_installing_at_the_same_moment_goes_well_for_both(
    node: Graphile, connection: Any, migrated: Any, empty_database_url: str
) -> None:
    others = [await node.start(empty_database_url, "migrate") for _ in range(4)]
    for other in others:
        assert other.stdout is not None
        assert await other.stdout.readline() == b"ready\n"

    *_, level = await asyncio.gather(*map(finished, others), run_migrations(connection))

    assert level == 20
    assert [row["id"] for row in await recorded(connection)] == list(range(1, 21))
    assert without_views(await read_catalog(connection)) == without_views(
        await read_catalog(migrated)
    )


@pytest.mark.parametrize("level", [7, 11, 15])
async def test_the_way_out_for_an_old_schema_works(
    node: Graphile, connection: Any, migrated: Any, empty_database_url: str, level: int
) -> None:
    await make_npm_level(connection, level)
    await connection.execute(f"select {SCHEMA}.add_job('a', '{{}}', job_key => 'k')")
    with pytest.raises(Exception, match=f"level {level} of Graphile Worker.* --schema-only") as no:
        await check_schema(connection, SCHEMA)
    assert type(no.value).__name__ == "SchemaForeign"

    await node.migrate(empty_database_url)

    assert await run_migrations(connection) == 20
    assert await connection.fetchval(f"select key from {SCHEMA}.jobs") == "k"
    assert without_views(await read_catalog(connection)) == without_views(
        await read_catalog(migrated)
    )

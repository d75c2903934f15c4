"""The doctor finds what is wrong, says no more than that, and changes nothing."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from busy_server import server_with
from pooler import transaction_pooler
from postgres_server import run, temporary_database
from role_words import as_role, execute, grant, login_role
from waiting import until

from kongtask import WorkerUtils
from kongtask.clock import Clock
from kongtask.core.diagnosis import server
from kongtask.core.diagnosis.finding import Finding
from kongtask.errors import StoreUnavailable
from kongtask.postgres import diagnosis
from kongtask.postgres.diagnosis import Diagnosis, diagnose
from kongtask.postgres.level import ADDITIONS
from kongtask.postgres.migrations import run_migrations
from kongtask.postgres.pool import open_pool
from kongtask.postgres.statements import DEFAULT_SCHEMA, quote_schema

S = DEFAULT_SCHEMA
JOBS = f"{S}._private_jobs"
QUEUES = f"{S}._private_job_queues"
POOLS = f"{S}._kongtask_pools"
SECRET = "the-secret-payload"


@pytest.fixture(scope="module")
def well_server() -> Iterator[str]:
    """A server as it should be, and one that can keep old snapshots."""
    with server_with(autovacuum="on", wal_level="logical", max_prepared_transactions="5") as url:
        yield url


@pytest.fixture
async def well_url(well_server: str) -> AsyncIterator[str]:
    with temporary_database(well_server) as url:
        connection = await asyncpg.connect(url)
        await run_migrations(connection)
        await connection.close()
        yield url


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[asyncpg.Pool[Any]]:
    pool = await open_pool(url, max_size=2)
    try:
        yield pool
    finally:
        await pool.close()


async def told(url: str, schema: str = S, clock: Clock | None = None) -> Diagnosis:
    async with opened(url) as pool:
        return await diagnose(pool, schema, clock)


async def found(url: str, check: str, schema: str = S) -> list[Finding]:
    return [each for each in (await told(url, schema)).findings if each.check == check]


async def wrongs(url: str, check: str) -> list[str]:
    findings = await found(url, check)
    assert all(each.state == "fine" or (each.why and each.then) for each in findings)
    return [each.what for each in findings if each.state == "wrong"]


async def test_nothing_is_wrong_with_a_new_schema(well_url: str) -> None:
    diagnosis = await told(well_url)

    assert diagnosis.is_fine
    assert [each for each in diagnosis.findings if each.state != "fine"] == []
    assert len({each.check for each in diagnosis.findings}) == 13


@pytest.mark.parametrize("schema", ['odd "name"', "it's; --", "jobs", "{schema}"])
async def test_any_schema_will_do(well_url: str, schema: str) -> None:
    connection = await asyncpg.connect(well_url)
    await run_migrations(connection, schema)
    await connection.close()

    findings = (await told(well_url, schema)).findings

    assert [each for each in findings if each.state != "fine"] == []


async def add_pool(url: str, pool_id: str, silent_for: str, tasks: str = "{}") -> None:
    await execute(
        url,
        f"insert into {POOLS} (pool_id, host, concurrency, tasks, heartbeat_at) "
        f"values ('{pool_id}', 'h', 1, '{tasks}', now() - interval '{silent_for}')",
    )


async def lock_job(url: str, by: str, since: str) -> None:
    await execute(
        url,
        f"select {S}.add_job('t', queue_name => 'q-{by}')",
        f"update {JOBS} set locked_by = '{by}', locked_at = now() - interval '{since}' "
        "where locked_by is null",
        f"update {QUEUES} set locked_by = '{by}', locked_at = now() - interval '{since}' "
        "where locked_by is null",
    )


async def test_locks_of_the_dead_are_told_from_those_of_the_living(database_url: str) -> None:
    for name, silent_for in (("alive", "1 second"), ("gone", "1 minute"), ("held", "30 seconds")):
        await add_pool(database_url, name, silent_for)
        await lock_job(database_url, name, "2 minutes")
    await add_pool(database_url, "stuck", "2 minutes")
    await lock_job(database_url, "stuck", "2 minutes")
    await lock_job(database_url, "node-new", "3 hours")
    await lock_job(database_url, "node-old", "5 hours")
    sessions = await asyncpg.connect(database_url)
    try:
        for name in ("held", "stuck"):
            key = "select pg_advisory_lock(hashtextextended($1::text, 0))"
            await sessions.fetch(key, name)
        findings = await wrongs(database_url, "stale locks")
    finally:
        await sessions.close()

    told_of = {each.partition("locked by ")[2].partition(",")[0] for each in findings}
    assert told_of == {"'gone'", "'stuck'", "'node-old'"}
    [gone] = [each for each in findings if "'gone'" in each]
    assert gone.startswith("1 job and 1 queue locked by 'gone', which has died: its last heartbeat")


async def test_queues_that_nobody_frees_are_named(database_url: str) -> None:
    await add_pool(database_url, "alive", "1 second")
    for name in ("alive", "node"):
        await lock_job(database_url, name, "90 minutes")
    assert await wrongs(database_url, "queue locks") == []
    await execute(database_url, f"delete from {JOBS}")

    [only] = await wrongs(database_url, "queue locks")

    assert only.startswith("1 queue locked for up to 90 min without a job that runs: 'q-node'")


async def test_jobs_that_nobody_runs_are_counted_by_task(database_url: str) -> None:
    await execute(
        database_url,
        f"select {S}.add_job('served', run_at => now() - interval '1 hour')",
        f"select {S}.add_job('late', run_at => now() - interval '1 hour') "
        "from generate_series(1, 3)",
        f"select {S}.add_job('of-the-dead', run_at => now() - interval '2 hours')",
        f"select {S}.add_job('new')",
        f"select {S}.add_job('later', run_at => now() + interval '1 hour')",
    )
    await add_pool(database_url, "alive", "1 second", "{served,other}")
    await add_pool(database_url, "dead", "1 hour", "{of-the-dead}")

    assert await wrongs(database_url, "unserved tasks") == [
        "due for up to 2 h and served by no pool of workers that lives: late (3 jobs), "
        "of-the-dead (1 job); 1 pool of workers, of 2 tasks"
    ]
    await execute(database_url, f"update {POOLS} set heartbeat_at = now() - interval '1 hour'")
    [nobody] = await wrongs(database_url, "unserved tasks")
    assert "served (1 job)" in nobody
    assert nobody.endswith("no pool of workers lives")


async def test_jobs_that_failed_for_good_are_counted_by_task(database_url: str) -> None:
    await execute(
        database_url,
        f"select {S}.add_job('mail', max_attempts => 1) from generate_series(1, 3)",
        f"select {S}.add_job('resize', max_attempts => 1)",
        f"update {JOBS} set attempts = 1, last_error = '{SECRET}', "
        "updated_at = now() - interval '90 minutes'",
        f"select {S}.add_job('fine')",
    )

    assert await wrongs(database_url, "failed jobs") == [
        "4 jobs failed for good, the last 90 min ago: mail (3), resize (1)"
    ]


async def test_vacuum_that_is_off_is_found(database_url: str, well_url: str) -> None:
    """The server of the test run does not vacuum by itself."""
    assert await wrongs(database_url, "autovacuum") == ["the server's setting autovacuum is off"]
    assert await wrongs(well_url, "autovacuum") == []

    await execute(well_url, f"alter table {QUEUES} set (autovacuum_enabled = off)")

    assert await wrongs(well_url, "autovacuum") == ["turned off for _private_job_queues"]


async def test_dead_rows_that_pile_up_are_found(database_url: str) -> None:
    await execute(
        database_url,
        f"select {S}.add_job('t')",
        f"insert into {JOBS} (task_id) select 1 from generate_series(1, 9999)",
        f"update {JOBS} set priority = 1",
    )

    async def dead() -> list[str]:
        return await wrongs(database_url, "dead rows")

    [only] = await until(dead)

    assert only == (
        "_private_jobs has 10,000 dead rows beside 10,000 living ones; vacuum is due at 1,000 and "
        "last ran never"
    )
    await execute(database_url, f"vacuum {JOBS}")
    assert await until(lambda: none_wrong(database_url, "dead rows"))


async def none_wrong(url: str, check: str) -> bool:
    return await wrongs(url, check) == []


async def test_what_keeps_dead_rows_is_named(
    well_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LONG_TRANSACTION", timedelta(0))
    forgetful = await asyncpg.connect(well_url, server_settings={"application_name": "shop"})
    pid = forgetful.get_server_pid()
    await forgetful.execute(f"begin isolation level repeatable read; select '{SECRET}'")
    create_slot = "select pg_create_logical_replication_slot('reader', 'pgoutput')"
    await execute(well_url, create_slot)
    prepared = ("begin", "select pg_current_xact_id()", "prepare transaction 'it''s mine'")
    await execute(well_url, *prepared)
    try:
        findings = await found(well_url, "oldest snapshot")
    finally:
        await forgetful.close()
        await execute(well_url, "rollback prepared 'it''s mine'")
        await execute(well_url, "select pg_drop_replication_slot('reader')")

    assert {each.state for each in findings} == {"wrong"}
    assert {each.what.split(" (")[0] for each in findings} == {
        f"session {pid}", "prepared transaction it's mine", "replication slot reader",
    }  # fmt: skip
    [session] = [each for each in findings if each.what.startswith("session")]
    assert re.search(r"\(shop of kongtask\), idle, open for \d+ s", session.what)
    assert f"pg_terminate_backend({pid})" in session.then
    [kept] = [each for each in findings if each.what.startswith("prepared")]
    assert "`rollback prepared 'it''s mine'`" in kept.then
    assert SECRET not in repr(findings)


DRIFTS = [
    ("drop index {s}.jobs_main_index", "missing: index jobs_main_index"),
    (
        "alter table {s}._private_jobs drop column tracestate",
        "missing: column _private_jobs.tracestate",
    ),
    ("drop function {s}.remove_job(text)", "missing: function remove_job"),
    (
        "alter table {s}._private_jobs disable trigger _kongtask_take_context",
        "there, but without effect: trigger _kongtask_take_context",
    ),
    (
        "update pg_index set indisvalid = false where indexrelid = '{s}.jobs_main_index'::regclass",
        "there, but without effect: index jobs_main_index",
    ),
    (
        "create or replace function {s}.force_unlock_workers(worker_ids text[]) returns void "
        "language sql as 'select null::void'",
        "not as the migrations made them: function force_unlock_workers",
    ),
    (
        "alter table {s}._private_jobs drop constraint jobs_key_check; "
        "alter table {s}._private_jobs add constraint jobs_key_check check (length(key) > 0)",
        "not as the migrations made them: constraint _private_jobs.jobs_key_check",
    ),
    (
        "drop view {s}.jobs; alter table {s}._private_jobs alter column revision type bigint",
        "missing: table jobs",
    ),
]


@pytest.mark.parametrize("statement, sentence", DRIFTS, ids=lambda text: text.split(": ")[-1][:30])
async def test_what_was_changed_by_hand_is_found(
    database_url: str, statement: str, sentence: str
) -> None:
    assert await wrongs(database_url, "drift") == []

    await execute(database_url, statement.format(s=S))

    assert sentence in await wrongs(database_url, "drift")


async def test_a_missing_index_comes_with_its_making(database_url: str) -> None:
    await execute(database_url, f"drop index {S}.jobs_main_index")

    [finding] = await found(database_url, "drift")
    making = finding.then.split("`")[1]
    await execute(database_url, f"set search_path = {S}; {making}")

    assert await wrongs(database_url, "drift") == []


async def test_a_level_that_is_not_this_versions_is_told(
    database_url: str, empty_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    [missing] = await found(empty_database_url, "level")
    assert (missing.what, missing.then) == (
        'schema "graphile_worker" does not exist',
        "run `kongtask migrate -s graphile_worker`",
    )
    states = {each.check: each.state for each in (await told(empty_database_url)).findings}
    assert [check for check, state in states.items() if state == "unknown"] == [
        "rights", "drift", "stale locks", "queue locks", "unserved tasks", "failed jobs",
    ]  # fmt: skip
    await execute(database_url, f"delete from {S}._kongtask_migrations where id = {len(ADDITIONS)}")
    [behind] = await wrongs(database_url, "level")
    assert "lacks 1 of KongTask's" in behind
    await execute(database_url, f"insert into {S}.migrations (id, breaking) values (99, true)")
    [ahead] = await found(database_url, "level")
    assert ahead.then == "upgrade KongTask"
    with caplog.at_level(logging.WARNING):
        assert not (await told(database_url)).is_fine


async def test_a_schema_that_waits_for_its_migration_ends_nothing(database_url: str) -> None:
    await execute(
        database_url,
        f"alter table {POOLS} drop column recovery_timeout",
        f"delete from {S}._kongtask_migrations where id > 3",
    )

    states = {each.check: each.state for each in (await told(database_url)).findings}

    assert (states["level"], states["stale locks"], states["listen"]) == (
        "wrong",
        "unknown",
        "fine",
    )


@pytest.fixture
async def stranger_url(well_url: str) -> AsyncIterator[str]:
    """The well database as a role without any right."""
    async with login_role(well_url) as role:
        yield as_role(well_url, role)


async def test_a_role_without_rights_is_told_what_it_lacks(stranger_url: str) -> None:
    findings = (await told(stranger_url)).findings

    [rights] = [each for each in findings if each.check == "rights"]
    assert rights.what.endswith("lacks usage on schema graphile_worker")
    role = stranger_url.split("//")[1].split(":")[0]
    assert f"`kongtask roles --worker-role {role} -s graphile_worker`" in rights.then
    unseen = {each.check for each in findings if each.state == "unknown"}
    assert unseen == {
        "level", "stale locks", "queue locks", "unserved tasks", "failed jobs", "oldest snapshot",
    }  # fmt: skip


async def test_what_rights_advises_cures(well_url: str, stranger_url: str) -> None:
    role = stranger_url.split("//")[1].split(":")[0]
    await grant(well_url, worker=role)

    findings = (await told(stranger_url)).findings

    assert {each.check for each in findings if each.state != "fine"} == {"oldest snapshot"}
    await execute(well_url, f"grant pg_read_all_stats to {role}")
    assert [each for each in (await told(stranger_url)).findings if each.state != "fine"] == []


async def test_rows_that_are_hidden_do_not_count_as_none(well_url: str, stranger_url: str) -> None:
    role = stranger_url.split("//")[1].split(":")[0]
    await execute(
        well_url,
        f"grant usage on schema {S} to {role}",
        f"grant select on all tables in schema {S} to {role}",
        f"select {S}.add_job('t')",
        f"update {JOBS} set locked_by = 'node', locked_at = now() - interval '9 hours'",
    )

    findings = {each.check: each for each in (await told(stranger_url)).findings}

    assert "insert/update/delete on _private_jobs" in findings["rights"].what
    assert findings["stale locks"].state == "unknown"
    assert "may not read _private_jobs" in findings["stale locks"].what
    await execute(
        well_url,
        f"grant insert, update, delete on all tables in schema {S} to {role}",
    )
    [hidden] = await wrongs(stranger_url, "rights")
    assert "a policy that shows the rows of _private_jobs" in hidden


async def test_a_role_that_only_adds_is_as_it_should_be(well_url: str, stranger_url: str) -> None:
    role = stranger_url.split("//")[1].split(":")[0]
    await grant(well_url, add=role)

    diagnosis = await told(stranger_url)

    assert diagnosis.is_fine
    [rights] = [each.what for each in diagnosis.findings if each.check == "rights"]
    assert rights == f"role '{role}' may add jobs and nothing else"


async def test_a_pooler_that_swallows_notifications_is_found(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await wrongs(database_url, "listen") == []
    monkeypatch.setattr(diagnosis, "PATIENCE", 0.5)
    with transaction_pooler(database_url, tmp_path) as pooled:
        findings = (await told(pooled)).findings

    states = {each.check: each.state for each in findings}
    assert states.pop("listen") == "wrong"
    assert {check for check, state in states.items() if state != "fine"} == {"autovacuum"}


class LateClock(Clock):
    """A machine whose clock is an hour and a half behind."""

    def now(self) -> datetime:
        return super().now() - timedelta(minutes=90)


async def test_clocks_that_differ_are_found(database_url: str) -> None:
    findings = (await told(database_url, clock=LateClock())).findings

    [clock] = [each for each in findings if each.check == "clock"]
    assert (clock.state, clock.what) == (
        "wrong",
        "the database's clock is 90 min ahead of this machine's",
    )


async def test_what_takes_too_long_is_given_up(
    well_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "TIME_LIMIT_MILLISECONDS", 2000)
    blocking = await asyncpg.connect(well_url)
    transaction = blocking.transaction()
    await transaction.start()
    await blocking.execute(f"lock table {JOBS} in access exclusive mode")
    try:
        findings = (await told(well_url)).findings
    finally:
        await transaction.rollback()
        await blocking.close()

    unseen = {each.check: each.what for each in findings if each.state == "unknown"}
    assert unseen.keys() == {
        "drift", "stale locks", "queue locks", "unserved tasks", "failed jobs",
    }  # fmt: skip
    assert set(unseen.values()) == {"looking took longer than 2 s"}


async def test_nothing_is_written_and_no_payload_read(well_url: str) -> None:
    async with await WorkerUtils.connect(well_url) as utils:
        await utils.add_job("t", {"secret": SECRET})
        await utils.pool.execute(
            f"update {JOBS} set last_error = '{SECRET}', key = '{SECRET}', "
            f"flags = '{{\"{SECRET}\": true}}', attempts = 25"
        )
    before = await state(well_url)

    diagnosis = await told(well_url)

    assert await state(well_url) == before
    assert SECRET not in repr(diagnosis)
    assert "1 job failed for good" in repr(diagnosis)


async def state(url: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        names = ("_private_jobs", "_private_job_queues", "_private_tasks", "_kongtask_pools")
        return [
            await connection.fetch(f"select xmin, ctid, * from {S}.{quote_schema(name)}")
            for name in names
        ]
    finally:
        await connection.close()


class FatalClock(Clock):
    """Ends the doctor's sessions when it is asked for a token."""

    def __init__(self, url: str) -> None:
        self._url = url

    def token(self, size: int = 9) -> str:
        ending = (
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and application_name = 'kongtask'"
        )
        run(execute(self._url, ending))
        return super().token(size)


async def test_a_server_that_goes_away_is_one_error(database_url: str) -> None:
    with pytest.raises(StoreUnavailable, match="the connection to PostgreSQL was lost"):
        await told(database_url, clock=FatalClock(database_url))

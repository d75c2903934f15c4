"""Gathers what the doctor judges: one statement a fact, each in a transaction that only reads.

A fact that this role may not see, or that takes too long, becomes a finding of its own, and the
others are told all the same. It refuses to change anything, and to read payloads or queries.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg

from kongtask.clock import Clock
from kongtask.core.diagnosis import objects, queue, server
from kongtask.core.diagnosis.finding import Finding, fine, unknown, wrong
from kongtask.core.diagnosis.shape import plain_body, shape
from kongtask.errors import ConfigurationError, DatabaseRefused
from kongtask.postgres.holders import read_holders, read_pools
from kongtask.postgres.level import check_level, read_level
from kongtask.postgres.records import translated_statement
from kongtask.postgres.statements import quote_schema, sql_folder, statement

TIME_LIMIT_MILLISECONDS = 10_000
"""How long a statement may take before its fact is given up."""

CHANNEL = "kongtask:doctor"
PATIENCE = 2.0
"""Seconds in which a notification must come back."""

_JOBS = ("_private_jobs", "_private_tasks")
_LOCKS = ("_private_jobs", "_private_job_queues", "_kongtask_pools")


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was found, by which role."""

    role: str
    findings: tuple[Finding, ...]

    @property
    def is_fine(self) -> bool:
        """Whether nothing is wrong; what could not be seen does not count."""
        return all(finding.state != "wrong" for finding in self.findings)


class _Unseen(Exception):
    """Why a fact cannot be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where facts are read, and what was read first."""

    pool: asyncpg.Pool[Any]
    connection: Any
    schema: str
    clock: Clock
    server: server.Server
    role: objects.Role | None
    tables: dict[str, objects.TableRights]

    def check_readable(self, *names: str) -> None:
        """Raise `_Unseen` unless this role reads what stands in these tables."""
        if missing := [name for name in names if name not in self.tables]:
            raise _Unseen(f"there is no table {missing[0]}")
        if hidden := [name for name in names if not self.tables[name].is_readable]:
            raise _Unseen(f"role {self.server.role!r} may not read {', '.join(hidden)}")

    async def rows(self, name: str, *arguments: object) -> list[dict[str, Any]]:
        """Return the rows of a statement."""
        return await _rows(self.connection, self.schema, name, *arguments)


async def diagnose(
    pool: asyncpg.Pool[Any], schema_name: str, clock: Clock | None = None
) -> Diagnosis:
    """Look at everything that can be wrong with one schema and its server.

    pool: of at least two connections, because a pooler before the server shows only when one
    listens and another notifies. Raises `StoreUnavailable` when the server is lost.
    """
    quote_schema(schema_name)
    with translated_statement(schema_name):
        async with pool.acquire() as connection:
            place = await _place(pool, connection, schema_name, clock or Clock())
            findings = [
                each for name, judged in _CHECKS for each in await _seen(name, judged, place)
            ]
    return Diagnosis(role=place.server.role, findings=tuple(findings))


async def _place(
    pool: asyncpg.Pool[Any], connection: Any, schema_name: str, clock: Clock
) -> _Place:
    [found] = await _rows(connection, schema_name, "doctor_server")
    roles = await _rows(connection, schema_name, "doctor_role", schema_name)
    rights = await _rows(connection, schema_name, "doctor_rights", schema_name)
    tables = [objects.TableRights(**{**row, "missing": tuple(row["missing"])}) for row in rights]
    return _Place(
        pool=pool,
        connection=connection,
        schema=schema_name,
        clock=clock,
        server=server.Server(**found),
        role=objects.Role(**roles[0]) if roles else None,
        tables={table.name: table for table in tables},
    )


async def _rows(
    connection: Any, schema_name: str, name: str, *arguments: object
) -> list[dict[str, Any]]:
    async with _reading(connection, schema_name):
        rows = await connection.fetch(statement(name, schema_name), *arguments)
    return [dict(row) for row in rows]


@asynccontextmanager
async def _reading(connection: Any, schema_name: str) -> AsyncIterator[None]:
    """Let statements read only, and for a limited time."""
    with translated_statement(schema_name):
        async with connection.transaction(readonly=True):
            limit = str(TIME_LIMIT_MILLISECONDS)
            await connection.fetch(statement("queue_time_limit", schema_name), limit)
            yield


async def _seen(name: str, judged: _Judged, place: _Place) -> list[Finding]:
    try:
        return await judged(place)
    except _Unseen as error:
        return [unknown(name, f"not looked at: {error}", then=_ASK)]
    except asyncpg.QueryCanceledError:
        limit = f"{TIME_LIMIT_MILLISECONDS // 1000} s"
        return [unknown(name, f"looking took longer than {limit}", then="look at a quieter time")]
    except (ConfigurationError, asyncpg.PostgresError) as error:
        return [unknown(name, f"not looked at: {error}", then=_ASK)]


_ASK = "put right what `level` or `rights` says, or ask as the owner of the schema"


async def _server(place: _Place) -> list[Finding]:
    return server.writes(place.server)


async def _level(place: _Place) -> list[Finding]:
    try:
        level = await read_level(place.connection, place.schema)
        check_level(level, place.schema)
    except DatabaseRefused:
        raise
    except ConfigurationError as error:
        what, _, then = str(error).rpartition(": ")
        return [wrong("level", what, why="workers of this version refuse to start", then=then)]
    return [fine("level", f"{level.graphile}, with {level.additions} additions of KongTask")]


async def _rights(place: _Place) -> list[Finding]:
    if place.role is None:
        raise _Unseen(f"there is no schema {place.schema}")
    return objects.rights(place.role, list(place.tables.values()), place.schema)


async def _drift(place: _Place) -> list[Finding]:
    if "_private_jobs" not in place.tables:
        raise _Unseen("there is no table _private_jobs")
    rows = await place.rows("doctor_objects", place.schema, quote_schema(place.schema))
    for row in rows:
        if row["kind"] == "function":
            row["definition"] = plain_body(row["definition"])
    dump = (sql_folder() / "schema.sql").read_text(encoding="utf-8")
    return objects.drift([objects.Standing(**row) for row in rows], shape(dump))


async def _stale_locks(place: _Place) -> list[Finding]:
    place.check_readable(*_LOCKS)
    async with _reading(place.connection, place.schema):
        return queue.stale_locks(await read_holders(place.connection, place.schema))


async def _queue_locks(place: _Place) -> list[Finding]:
    place.check_readable(*_LOCKS)
    locks = [queue.QueueLock(**row) for row in await place.rows("doctor_queue_locks")]
    async with _reading(place.connection, place.schema):
        return queue.queue_locks(locks, await read_pools(place.connection, place.schema))


async def _unserved_tasks(place: _Place) -> list[Finding]:
    place.check_readable(*_JOBS, "_kongtask_pools")
    due = [queue.DueJobs(**row) for row in await place.rows("doctor_due")]
    async with _reading(place.connection, place.schema):
        return queue.unserved_tasks(due, await read_pools(place.connection, place.schema))


async def _failed_jobs(place: _Place) -> list[Finding]:
    place.check_readable(*_JOBS)
    return queue.failed_jobs([queue.FailedJobs(**row) for row in await place.rows("doctor_failed")])


async def _autovacuum(place: _Place) -> list[Finding]:
    return server.autovacuum(place.server, await _tables(place))


async def _dead_rows(place: _Place) -> list[Finding]:
    return server.dead_rows(await _tables(place), place.schema)


async def _tables(place: _Place) -> list[server.Table]:
    return [server.Table(**row) for row in await place.rows("doctor_tables", place.schema)]


async def _oldest_snapshot(place: _Place) -> list[Finding]:
    snapshots = [server.Snapshot(**row) for row in await place.rows("doctor_snapshots")]
    return server.oldest_snapshot(snapshots, place.server)


async def _listen(place: _Place) -> list[Finding]:
    """Listen on one connection and notify on another, as workers and those who add jobs do."""
    heard, token = asyncio.Event(), place.clock.token()
    began = place.clock.monotonic()

    def hear(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
        if payload == token:
            heard.set()

    await place.connection.add_listener(CHANNEL, hear)
    try:
        async with place.pool.acquire() as other, asyncio.timeout(PATIENCE):
            await other.fetch(statement("notify", place.schema), CHANNEL, token)
            await heard.wait()
    except TimeoutError:
        return server.listening(None, place.server, PATIENCE)
    finally:
        await place.connection.remove_listener(CHANNEL, hear)
    return server.listening(place.clock.monotonic() - began, place.server, PATIENCE)


async def _clock(place: _Place) -> list[Finding]:
    """Compare clocks, taking the answer's journey for as long as its way there."""
    before = place.clock.now()
    [row] = await place.rows("cron_now")
    after = place.clock.now()
    journey = (after - before) / 2
    return server.clock_skew(row["now"] - before - journey, journey)


_Judged: TypeAlias = Callable[[_Place], Awaitable[list[Finding]]]

_CHECKS: tuple[tuple[str, _Judged], ...] = (
    ("server", _server),
    ("level", _level),
    ("rights", _rights),
    ("drift", _drift),
    ("stale locks", _stale_locks),
    ("queue locks", _queue_locks),
    ("unserved tasks", _unserved_tasks),
    ("failed jobs", _failed_jobs),
    ("autovacuum", _autovacuum),
    ("dead rows", _dead_rows),
    ("oldest snapshot", _oldest_snapshot),
    ("listen", _listen),
    ("clock", _clock),
)
"""What is looked at, in the order in which it is told."""

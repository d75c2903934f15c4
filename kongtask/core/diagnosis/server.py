"""Judges what the server does around the tables: vacuum, old snapshots, notifications, clocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from kongtask.core.diagnosis.finding import Finding, fine, listed, unknown, wrong
from kongtask.core.wording import span

MANY_DEAD = 10_000
TIMES_DUE = 5
"""Dead rows are too many from this number, and so many times what vacuum is due at."""

LONG_TRANSACTION = timedelta(minutes=10)
OLD_SNAPSHOT = 1_000_000
"""Transactions since a snapshot that something long-lived keeps, from which it harms."""

FULL_QUEUE = 0.5
"""Share of the server's notification queue from which somebody does not read it."""

SKEW = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Which server it is, and the role that asks.

    sees_all: whether the role sees what other roles' sessions do. is_standby: it takes no writes.
    autovacuum, track_counts: whether it vacuums by itself. notifications: how full its queue of
    them is, from 0 to 1.
    """

    version: str
    role: str
    sees_all: bool
    is_standby: bool
    autovacuum: bool
    track_counts: bool
    notifications: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table's rows, dead rows, the number of them that vacuum is due at, and when it ran."""

    name: str
    live: int
    dead: int
    due_at: int
    is_vacuumed: bool
    vacuumed_ago: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What keeps rows from being removed: a session, a prepared transaction, a replication slot.

    age: of its transaction, None for slots. transactions: how many began since its snapshot.
    """

    kind: Literal["session", "prepared", "slot"]
    name: str
    who: str
    is_active: bool
    age: timedelta | None
    transactions: int


def writes(server: Server) -> list[Finding]:
    """Judge whether the server takes writes."""
    if not server.is_standby:
        return [fine("server", f"PostgreSQL {server.version}, takes writes")]
    return [
        wrong(
            "server",
            "it is a standby and takes no writes",
            why="neither can jobs be added or run here, nor can workers listen",
            then="connect to the primary",
        )
    ]


def autovacuum(server: Server, tables: Sequence[Table]) -> list[Finding]:
    """Judge whether the tables are vacuumed."""
    off = [name for name in ("autovacuum", "track_counts") if not getattr(server, name)]
    tables_off = [table.name for table in tables if not table.is_vacuumed]
    why = "each job leaves dead rows; without vacuum, fetching gets slower with every one that ran"
    if off:
        return [
            wrong(
                "autovacuum",
                f"the server's setting {off[0]} is off",
                why=why,
                then=f"`alter system set {off[0]} = on; select pg_reload_conf()`",
            )
        ]
    if tables_off:
        return [
            wrong(
                "autovacuum",
                f"turned off for {listed(tables_off)}",
                why=why,
                then="`alter table … reset (autovacuum_enabled)`",
            )
        ]
    return [fine("autovacuum", "on")]


def dead_rows(tables: Sequence[Table], schema: str) -> list[Finding]:
    """Judge whether vacuum keeps up."""
    behind = [each for each in tables if each.dead >= max(MANY_DEAD, TIMES_DUE * each.due_at)]
    if not behind:
        total = sum(table.dead for table in tables)
        return [fine("dead rows", f"{total:,} in {len(tables)} tables")]
    return [
        wrong(
            "dead rows",
            f"{table.name} has {table.dead:,} dead rows beside {table.live:,} living ones; "
            f"vacuum is due at {table.due_at:,} and last ran {_ago(table.vacuumed_ago)}",
            why="every fetch walks over those that stand before the first living one",
            then=f"end what `oldest snapshot` names, then `vacuum {schema}.{table.name}`; if "
            "autovacuum does not come by, see its workers and cost limit",
        )
        for table in behind
    ]


def _ago(duration: timedelta | None) -> str:
    return "never" if duration is None else f"{span(duration)} ago"


def oldest_snapshot(snapshots: Sequence[Snapshot], server: Server) -> list[Finding]:
    """Judge what keeps dead rows from being removed."""
    found = [_held_back(each) for each in snapshots if _is_old(each)]
    if found:
        return found
    if not server.sees_all:
        return [
            unknown(
                "oldest snapshot",
                "this role sees the transactions of its own sessions only",
                then="let a superuser `grant pg_read_all_stats` to it, or ask as another role",
            )
        ]
    oldest = max((each.age for each in snapshots if each.age), default=timedelta(0))
    return [fine("oldest snapshot", f"the oldest transaction is {span(oldest)} old")]


def _is_old(snapshot: Snapshot) -> bool:
    if snapshot.kind == "slot":
        return not snapshot.is_active or snapshot.transactions > OLD_SNAPSHOT
    age = snapshot.age or timedelta(0)
    return age > LONG_TRANSACTION or snapshot.transactions > OLD_SNAPSHOT


_ENDING = {
    "session": "end it there, or `select pg_terminate_backend({name})`; "
    "idle_in_transaction_session_timeout ends forgotten ones",
    "prepared": "`commit prepared '{name}'` or `rollback prepared '{name}'`",
    "slot": "let its reader come back, or `select pg_drop_replication_slot('{name}')`",
}


def _held_back(snapshot: Snapshot) -> Finding:
    age = "" if snapshot.age is None else f", open for {span(snapshot.age)}"
    idle = "" if snapshot.is_active else ", idle"
    kinds = {"prepared": "prepared transaction", "slot": "replication slot"}
    kind = kinds.get(snapshot.kind, snapshot.kind)
    return wrong(
        "oldest snapshot",
        f"{kind} {snapshot.name} ({snapshot.who}){idle}{age}; {snapshot.transactions:,} "
        "transactions began since its snapshot",
        why="rows that died after it was taken cannot be removed, nor skipped by fetches",
        then=_ENDING[snapshot.kind].format(name=snapshot.name.replace("'", "''")),
    )


def listening(seconds: float | None, server: Server, patience: float) -> list[Finding]:
    """Judge whether a notification to oneself came back, after how many seconds or not at all."""
    if seconds is None:
        return [
            wrong(
                "listen",
                f"a notification to this very connection did not come back in {patience:g} s",
                why="workers hear of new jobs by notifications; a pooler in transaction mode "
                "swallows them, and then jobs wait for the next look",
                then="connect to PostgreSQL itself or to a pooler in session mode, or start "
                "workers with --no-listen",
            )
        ]
    if server.notifications > FULL_QUEUE:
        return [
            wrong(
                "listen",
                f"the server's notification queue is {server.notifications:.0%} full",
                why="when it is full, adding jobs fails",
                then="end the oldest transaction of a session that listens",
            )
        ]
    return [fine("listen", f"a notification came back in {seconds * 1000:.0f} ms")]


def _skew(size: timedelta) -> str:
    return f"{size.total_seconds():.1f} s" if size < timedelta(minutes=2) else span(size)


def clock_skew(ahead: timedelta, uncertainty: timedelta) -> list[Finding]:
    """Judge by how much the database's clock is ahead of this machine's, give or take."""
    size = abs(ahead)
    if size - uncertainty <= SKEW:
        return [fine("clock", f"within {max(size, uncertainty).total_seconds():.1f} s of this one")]
    side = "ahead of" if ahead > timedelta(0) else "behind"
    return [
        wrong(
            "clock",
            f"the database's clock is {_skew(size)} {side} this machine's",
            why="jobs run by the database's clock: a run_at that a program here calculates comes "
            "early or late by so much",
            then="let both machines follow a time server (NTP)",
        )
    ]

"""What the doctor and `kongtask unlock` make of facts, where a database can hardly be made so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from kongtask.core.diagnosis import objects, queue, server
from kongtask.core.diagnosis.finding import Finding
from kongtask.core.diagnosis.shape import shape
from kongtask.core.holders import Holder, Pool, is_alive, to_free
from kongtask.errors import ConfigurationError

SECOND = timedelta(seconds=1)
WELL = server.Server(
    version="18.0", role="me", sees_all=True, is_standby=False, autovacuum=True,
    track_counts=True, notifications=0.0,
)  # fmt: skip
POOL = Pool(
    pool_id="p", host="h", silent_for=0 * SECOND, recovery_timeout=10 * SECOND, has_session=True
)
SLOT = server.Snapshot(
    kind="slot", name="reader", who="of pgoutput", is_active=True, age=None, transactions=5
)
SESSION = server.Snapshot(
    kind="session", name="7", who="me", is_active=True, age=SECOND, transactions=5
)
ROLE = objects.Role(role="shop", may_use=True, may_add=False)


def states(findings: list[Finding]) -> list[str]:
    return [finding.state for finding in findings]


@pytest.mark.parametrize(
    "silent_for, has_session, alive",
    [(6, False, True), (6.1, False, False), (40, True, True), (40.1, True, False)],
    ids=["beats", "gone", "session stands", "stuck"],
)
def test_life(silent_for: float, has_session: bool, alive: bool) -> None:
    pool = replace(POOL, silent_for=silent_for * SECOND, has_session=has_session)
    assert is_alive(pool) is alive
    patient = replace(pool, recovery_timeout=timedelta(hours=1))
    assert is_alive(patient)


def holder(pool_id: str, silent_for: int | None) -> Holder:
    pool = None if silent_for is None else replace(POOL, silent_for=silent_for * SECOND)
    return Holder(pool_id=pool_id, jobs=1, queues=0, held_for=SECOND, pool=pool)


CROWD = (holder("alive", 0), holder("dead", 100), holder("node", None))


def test_whose_locks_are_freed() -> None:
    assert [each.pool_id for each in to_free(CROWD, [], dead=True)] == ["dead"]
    assert [each.pool_id for each in to_free(CROWD, ["node", "node"], dead=True)] == [
        "node",
        "dead",
    ]
    assert [each.pool_id for each in to_free(CROWD, ["dead"], dead=True)] == ["dead"]
    assert [each.pool_id for each in to_free(CROWD, ["alive"], force=True)] == ["alive"]
    assert to_free(CROWD, []) == ()
    for name in ("alive", "nobody"):
        with pytest.raises(ConfigurationError, match=name):
            to_free(CROWD, ["dead", name])


@pytest.mark.parametrize(
    "snapshot, state",
    [
        (SLOT, "fine"),
        (replace(SLOT, is_active=False), "wrong"),
        (replace(SLOT, transactions=2_000_000), "wrong"),
        (SESSION, "fine"),
        (replace(SESSION, age=timedelta(minutes=11)), "wrong"),
        (replace(SESSION, transactions=2_000_000), "wrong"),
        (replace(SESSION, kind="prepared", age=timedelta(days=3)), "wrong"),
    ],
    ids=["slot", "idle slot", "slow slot", "session", "long", "standby's", "prepared"],
)
def test_what_keeps_dead_rows(snapshot: server.Snapshot, state: str) -> None:
    assert states(server.oldest_snapshot([snapshot], WELL)) == [state]


def test_what_is_seen_counts_also_when_others_are_hidden() -> None:
    partial = replace(WELL, sees_all=False)
    assert states(server.oldest_snapshot([SESSION], partial)) == ["unknown"]
    assert states(server.oldest_snapshot([replace(SLOT, is_active=False)], partial)) == ["wrong"]


def test_a_standby_and_a_full_notification_queue() -> None:
    assert states(server.writes(WELL)) == ["fine"]
    assert states(server.writes(replace(WELL, is_standby=True))) == ["wrong"]
    assert states(server.listening(0.01, replace(WELL, notifications=0.4), 2)) == ["fine"]
    [full] = server.listening(0.01, replace(WELL, notifications=0.75), 2)
    assert full.what == "the server's notification queue is 75% full"


@pytest.mark.parametrize(
    "ahead, uncertainty, state",
    [(0, 0, "fine"), (2.5, 0, "wrong"), (-2.5, 0, "wrong"), (2.5, 1, "fine"), (3600, 1, "wrong")],
)
def test_clocks(ahead: float, uncertainty: float, state: str) -> None:
    findings = server.clock_skew(ahead * SECOND, uncertainty * SECOND)
    assert states(findings) == [state]
    if state == "wrong":
        assert ("behind" in findings[0].what) == (ahead < 0)


def test_dead_rows_count_against_what_vacuum_is_due_at() -> None:
    table = server.Table(
        name="t", live=10**7, dead=400_000, due_at=101_000, is_vacuumed=True, vacuumed_ago=SECOND
    )
    assert states(server.dead_rows([table], "s")) == ["fine"]
    assert states(server.dead_rows([replace(table, dead=600_000)], "s")) == ["wrong"]
    assert states(server.dead_rows([replace(table, dead=9_000, due_at=50)], "s")) == ["fine"]


def test_each_setting_of_the_server_that_stops_vacuum() -> None:
    for setting in ("autovacuum", "track_counts"):
        [finding] = server.autovacuum(replace(WELL, **{setting: False}), [])
        assert (finding.state, setting in finding.then) == ("wrong", True)


def test_the_way_out_quotes_the_role_for_the_shell() -> None:
    lacking = objects.TableRights(name="_private_jobs", missing=("select",), is_hidden=False)
    odd = replace(ROLE, role="it's me")

    [finding] = objects.rights(odd, [lacking], "my jobs")

    command = """`kongtask roles --worker-role 'it'"'"'s me' -s 'my jobs'`"""
    assert command in finding.then


def test_a_few_jobs_that_wait_a_moment_are_nobodys_fault() -> None:
    due = queue.DueJobs(task="t", jobs=3, due_for=59 * SECOND)
    assert states(queue.unserved_tasks([due], [])) == ["fine"]
    assert states(queue.unserved_tasks([replace(due, due_for=61 * SECOND)], [])) == ["wrong"]


def test_the_dump_is_read_whole() -> None:
    dump = (Path(__file__).resolve().parents[2] / "sql" / "schema.sql").read_text()

    found = shape(dump)

    kinds = [kind for kind, _ in found]
    assert dump.count("create table") + dump.count("create view") == kinds.count("table")
    assert dump.count("CREATE OR REPLACE FUNCTION") == kinds.count("function")
    assert dump.count("CREATE TRIGGER") == kinds.count("trigger")
    assert dump.count("\nCREATE INDEX") == kinds.count("index")
    assert dump.count("\n    constraint ") == kinds.count("constraint")
    assert found["column", "_private_jobs.run_at"] == "timestamp with time zone"
    assert found["column", "_private_jobs.is_available"] == "boolean"
    assert "graphile_worker" not in repr(found)

"""`kongtask unlock` shows who holds locks, frees what the dead hold, and spares the living."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from cli_process import Ran, kongtask, running
from postgres_server import run
from role_words import as_role, execute, fetch, grant, login_role

SCHEMA = "graphile_worker"
JOBS = f"{SCHEMA}._private_jobs"
QUEUES = f"{SCHEMA}._private_job_queues"
POOLS = f"{SCHEMA}._kongtask_pools"
HELD = f"""
select locked_by from {JOBS} where locked_by is not null
union all select locked_by from {QUEUES} where locked_by is not null order by 1
"""


def sql(url: str, *statements: str) -> None:
    run(execute(url, *statements))


def holders(url: str) -> list[str]:
    """Who holds jobs and queues, once for each."""
    return [row["locked_by"] for row in run(fetch(url, HELD))]


def locked(url: str, pool_id: str, silent_for: str | None) -> None:
    """Lock a job and its queue for a pool, which is unknown when it never beat."""
    quoted = pool_id.replace("'", "''")
    sql(
        url,
        f"select {SCHEMA}.add_job('t', queue_name => 'q-{quoted}')",
        f"update {JOBS} set locked_by = '{quoted}', locked_at = now() - interval '1 hour', "
        "attempts = 1 where locked_by is null",
        f"update {QUEUES} set locked_by = '{quoted}', locked_at = now() where locked_by is null",
    )
    if silent_for is not None:
        sql(
            url,
            f"insert into {POOLS} (pool_id, host, heartbeat_at) "
            f"values ('{quoted}', 'pod-1', now() - interval '{silent_for}')",
        )


@pytest.fixture
def crowd(database_url: str) -> str:
    """A database in which a dead, a living and an unknown pool hold a job and its queue each."""
    locked(database_url, "pool-dead", "5 minutes")
    locked(database_url, "pool-alive", "0 seconds")
    locked(database_url, "node-1", None)
    return database_url


def unlock(folder: Path, url: str, *arguments: str, stdin: str = "") -> Ran:
    ran = kongtask(folder, "unlock", *arguments, stdin=stdin, DATABASE_URL=url)
    assert "Traceback" not in ran.err
    return ran


def test_without_names_it_lists_and_frees_nothing(folder: Path, crowd: str) -> None:
    ran = unlock(folder, crowd)

    assert (ran.code, ran.err) == (0, "")
    lines = sorted(ran.out.splitlines())
    assert lines[0].startswith(
        "alive   pool-alive on pod-1: 1 job and 1 queue for up to 60 min (its last heartbeat was "
    )
    assert lines[1].startswith("dead    pool-dead on pod-1: 1 job and 1 queue for up to 60 min")
    assert lines[1].endswith("(its last heartbeat was 5 min ago and its session is gone)")
    assert lines[2].startswith("unknown node-1: 1 job and 1 queue for up to 60 min (it sends no")
    assert len(holders(crowd)) == 6


def test_the_list_for_programs(folder: Path, crowd: str) -> None:
    ran = unlock(folder, crowd, "-o", "json")

    listed = {each["pool_id"]: each for each in json.loads(ran.out)}
    assert {name: each["life"] for name, each in listed.items()} == {
        "pool-dead": "dead", "pool-alive": "alive", "node-1": "unknown",
    }  # fmt: skip
    dead = listed["pool-dead"]
    assert (dead["jobs"], dead["queues"], dead["host"]) == (1, 1, "pod-1")
    assert 299 < dead["silent_for_seconds"] < 360
    assert listed["node-1"]["silent_for_seconds"] is None


def test_nothing_locked_is_said(folder: Path, database_url: str) -> None:
    assert unlock(folder, database_url).out == "nothing is locked in schema graphile_worker\n"
    assert unlock(folder, database_url, "--dead").out == "nothing was locked by them\n"


def test_the_named_are_freed_with_the_reason(folder: Path, crowd: str) -> None:
    ran = unlock(folder, crowd, "pool-dead", "node-1", "--yes")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "unlocked pool-dead: 1 job and 1 queue (its last heartbeat was 5 min ago and its session "
        "is gone)",
        "unlocked node-1: 1 job and 1 queue (it sends no heartbeat, as workers of Graphile Worker "
        "do not)",
    ]
    assert set(holders(crowd)) == {"pool-alive"}


def test_all_dead_are_freed_and_nobody_else(folder: Path, crowd: str) -> None:
    ran = unlock(folder, crowd, "--dead", "--yes", "-o", "json")

    assert ran.code == 0
    assert [each["pool_id"] for each in json.loads(ran.out)["unlocked"]] == ["pool-dead"]
    assert set(holders(crowd)) == {"pool-alive", "node-1"}


def test_the_living_are_spared_unless_forced(folder: Path, crowd: str) -> None:
    ran = unlock(folder, crowd, "pool-dead", "pool-alive", "--yes")
    assert (ran.code, ran.out) == (2, "")
    assert "pool 'pool-alive' lives, its last heartbeat was" in ran.err
    assert "Stop it first, or unlock it all the same with --force" in ran.err
    assert len(holders(crowd)) == 6

    assert unlock(folder, crowd, "pool-alive", "--yes", "--force").code == 0
    assert set(holders(crowd)) == {"pool-dead", "node-1"}


def test_a_name_that_holds_nothing_is_a_mistake(folder: Path, crowd: str) -> None:
    ran = unlock(folder, crowd, "pool-dead", "pool-ded", "--yes")

    assert ran.code == 2
    assert ran.err == (
        "kongtask: pool 'pool-ded' holds no lock: `kongtask unlock` lists those that do\n"
    )
    assert len(holders(crowd)) == 6


@pytest.mark.parametrize("answer, code", [("y\n", 0), ("n\n", 1), ("", 1)], ids=["y", "n", "none"])
def test_it_asks_first(folder: Path, crowd: str, answer: str, code: int) -> None:
    ran = unlock(folder, crowd, "pool-dead", stdin=answer)

    assert ran.code == code
    assert "dead    pool-dead on pod-1: 1 job" in ran.err
    assert ("pool-dead" in holders(crowd)) == (code == 1)
    assert (ran.out != "") == (code == 0)


def test_programs_cannot_be_asked(folder: Path, crowd: str) -> None:
    ran = unlock(folder, crowd, "--dead", "-o", "json")
    assert (ran.code, ran.out) == (2, "")
    assert "-o json cannot ask: add --yes" in ran.err


def test_odd_names_are_names(folder: Path, database_url: str) -> None:
    locked(database_url, "it's; {schema} --", "1 hour")
    assert unlock(folder, database_url, "--yes", "--", "it's; {schema} --").code == 0
    assert holders(database_url) == []


def test_a_role_that_may_not_is_told(folder: Path, crowd: str) -> None:
    async def scenario() -> None:
        async with login_role(crowd) as role:
            refused = unlock(folder, as_role(crowd, role), "--dead", "--yes")
            assert refused.code == 2
            assert "this role may not do it" in refused.err
            await grant(crowd, worker=role)
            assert unlock(folder, as_role(crowd, role), "--dead", "--yes").code == 0

    run(scenario())


def test_a_worker_that_was_killed_is_dead_and_one_that_runs_is_alive(
    folder: Path, database_url: str
) -> None:
    kongtask(folder, "add", "hold", DATABASE_URL=database_url)
    with running(folder, "worker", "-t", "tasks.py", DATABASE_URL=database_url) as worker:
        worker.until("holding")
        [alive] = json.loads(unlock(folder, database_url, "-o", "json").out)
        assert alive["life"] == "alive"
        assert "lives" in unlock(folder, database_url, alive["pool_id"], "--yes").err
        worker.signal(signal.SIGKILL)
        worker.exit_code()
    # What the passing of the time would do.
    sql(database_url, f"update {POOLS} set heartbeat_at = heartbeat_at - interval '30 minutes'")

    ran = unlock(folder, database_url, "--dead", "--yes")

    assert ran.out.startswith(f"unlocked {alive['pool_id']}: 1 job (its last heartbeat was 30 min")
    assert holders(database_url) == []
    (folder / "go").touch()
    again = kongtask(folder, "worker", "-t", "tasks.py", "--once", DATABASE_URL=database_url)
    assert again.code == 0
    assert jobs(database_url) == 0


def jobs(url: str) -> Any:
    return run(fetch(url, f"select count(*) from {JOBS}"))[0]["count"]

"""Real worker processes: they run jobs, say so, and end without leaving anything behind."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cli_process import Program, kongtask, running
from postgres_server import run, temporary_database
from waiting import SOMEBODY_WAITS, until

from kongtask import WorkerUtils

IMPATIENT = """
from kongtask.worker import dispatcher, pool
dispatcher.LAST_WORD = pool.LAST_WRITES = 0.5
"""

LEFT = """select
    (select count(*) from graphile_worker._private_jobs) as jobs,
    (select count(*) from graphile_worker._private_jobs where locked_by is not null) as locked,
    (select count(*) from graphile_worker._kongtask_pools) as pools"""


async def _add(url: str, task: str, payloads: list[object]) -> None:
    connection = await asyncpg.connect(url)
    try:
        utils = WorkerUtils(connection)
        await utils.add_jobs([(task, payload, None) for payload in payloads])
    finally:
        await connection.close()


def add(url: str, task: str, *payloads: object) -> None:
    run(_add(url, task, list(payloads)))


async def _row(url: str, query: str) -> dict[str, Any]:
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetchrow(query)
        assert found is not None
        return dict(found)
    finally:
        await connection.close()


def row(url: str, query: str) -> dict[str, Any]:
    """The one row of a query."""
    return run(_row(url, query))


def test_once_migrates_runs_what_is_there_and_ends(folder: Path, empty_database_url: str) -> None:
    url = empty_database_url
    added = kongtask(folder, "migrate", DATABASE_URL=url)
    assert (added.code, added.err) == (0, "")
    assert "schema graphile_worker of kongtask@" in added.out
    assert "is at level 20" in added.out
    assert kongtask(folder, "migrate", DATABASE_URL=url).out == added.out
    add(url, "greet", {"name": "ann"}, {"name": "bob"})
    ran = kongtask(folder, "worker", "--once", DATABASE_URL=url)
    assert (ran.code, ran.out) == (0, "hello ann\nhello bob\n")
    assert row(url, LEFT) == {"jobs": 0, "locked": 0, "pools": 0}


def test_the_log_has_one_line_a_job(folder: Path, database_url: str) -> None:
    add(database_url, "greet", *({"name": str(n)} for n in range(30)))
    ran = kongtask(folder, "worker", "--once", "-j", "5", DATABASE_URL=database_url)
    lines = ran.err.splitlines()
    assert len([line for line in lines if "completed greet (job " in line]) == 30
    assert len(lines) == 32
    assert "5 at a time: cling, fail, greet, hold, sit" in lines[0]
    assert "open-sesame" not in ran.err


def test_the_log_can_be_read_by_programs(folder: Path, database_url: str) -> None:
    add(database_url, "greet", {"name": "ann"})
    add(database_url, "fail", {})
    ran = kongtask(
        folder, "worker", "--once", DATABASE_URL=database_url, KONGTASK_LOG_FORMAT="json"
    )
    lines = [json.loads(line) for line in ran.err.splitlines()]
    done = [line for line in lines if line["message"].startswith("completed greet")]
    failed = [line for line in lines if line["message"].startswith("failed fail")]
    assert {"level": "info", "task": "greet", "outcome": "success"}.items() <= done[0].items()
    assert {"level": "error", "task": "fail", "outcome": "retry"}.items() <= failed[0].items()
    assert "no such address" in failed[0]["message"]
    assert "ValueError" in failed[0]["traceback"]


def test_the_environment_does_what_flags_do(folder: Path, empty_database_url: str) -> None:
    url = empty_database_url
    variables = {
        "DATABASE_URL": url, "KONGTASK_SCHEMA": "shop jobs", "KONGTASK_CONCURRENCY": "3",
        "KONGTASK_TASKS": "tasks", "KONGTASK_WORKER_NAME": "pod/7", "KONGTASK_HEALTH_PORT": "0",
        "KONGTASK_POLL_INTERVAL": "100", "KONGTASK_DRAIN_TIMEOUT": "10",
    }  # fmt: skip
    with running(folder, "worker", **variables) as program:
        program.until("schema shop jobs, 3 at a time: cling, fail, greet, hold, sit")
        port = int(program.until(r"health on port (\d+)")[1])
        pools = row(url, 'select pool_id, host, concurrency from "shop jobs"._kongtask_pools')
        assert pools["pool_id"].startswith("pool-pod-7-")
        assert (pools["host"], pools["concurrency"]) == ("pod/7", 3)
        assert get(port, "/livez") == (200, b"ok\n")
        assert b"kongtask_concurrency 3.0" in get(port, "/metrics")[1]
        program.signal(signal.SIGTERM)
        assert program.exit_code() == 0
    assert row(url, 'select count(*) from "shop jobs"._kongtask_pools') == {"count": 0}


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_twenty_terminations_during_a_job_lose_nothing(
    server_url: str, migrated_template: str, folder: Path
) -> None:
    """Graphile Worker leaves the row locked for four hours in each of them."""
    with ThreadPoolExecutor(3) as threads:
        runs = [
            threads.submit(_terminate_during_a_job, server_url, migrated_template, folder, number)
            for number in range(20)
        ]
        for each in runs:
            each.result()


def _terminate_during_a_job(server: str, template: str, folder: Path, number: int) -> None:
    place = folder / str(number)
    place.mkdir()
    (place / "tasks.py").write_text((folder / "tasks.py").read_text())
    task = ("hold", "sit")[number % 2]
    with temporary_database(server, template) as url:
        add(url, task, {})
        add(url, "greet", {"name": "late"})
        with running(place, "worker", "-c", url) as program:
            program.until("(hold|sitt)ing$")
            program.signal((signal.SIGTERM, signal.SIGINT)[number % 3 == 2])
            program.until("draining: SIG(TERM|INT)")
            (place / "go").touch()
            assert program.exit_code() == 0, program.text
            program.until(f"completed {task}")
            assert "hello" not in program.text
        assert row(url, LEFT) == {"jobs": 1, "locked": 0, "pools": 0}


@pytest.mark.parametrize("task", ["hold", "sit", "cling"])
def test_patience_that_ends_cuts_every_kind_of_handler_off(
    folder: Path, database_url: str, task: str
) -> None:
    add(database_url, task, {})
    flags = ("--drain-timeout", "0")
    variables = {"DATABASE_URL": database_url}
    with running(folder, "worker", *flags, prelude=IMPATIENT, **variables) as program:
        program.until("ing$")
        program.signal(signal.SIGTERM)
        assert program.exit_code(20) == 1
        program.until("kongtask: 1 job was cut off and given back: ")
        assert "Traceback" not in program.text
    assert row(database_url, LEFT) == {"jobs": 1, "locked": 0, "pools": 0}
    attempts = row(database_url, "select attempts from graphile_worker._private_jobs")
    assert attempts == {"attempts": 0}


def test_a_second_signal_cuts_short(folder: Path, database_url: str) -> None:
    add(database_url, "hold", {})
    with running(folder, "worker", DATABASE_URL=database_url) as program:
        program.until("holding$")
        program.signal(signal.SIGINT)
        program.until("draining")
        program.signal(signal.SIGINT)
        assert program.exit_code(20) == 130
        program.until("cut off and given back: hold .job .*; a second SIGINT came")
    assert row(database_url, LEFT) == {"jobs": 1, "locked": 0, "pools": 0}


SLOW = """
import os, signal, time
print("importing", flush=True)
while not os.path.exists("go"):
    time.sleep(0.01)
from kongtask import task
@task
def greet(payload, helpers):
    print("hello", flush=True)
"""


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
def test_a_signal_during_the_start_ends_it_cleanly(
    folder: Path, database_url: str, which: signal.Signals
) -> None:
    (folder / "slow.py").write_text(SLOW)
    add(database_url, "greet", {})
    with running(folder, "worker", "-t", "slow", DATABASE_URL=database_url) as program:
        program.until("importing")
        program.signal(which)
        assert program.exit_code() == 0
        assert "Traceback" not in program.text
        assert "hello" not in program.text
    assert row(database_url, LEFT) == {"jobs": 1, "locked": 0, "pools": 0}


def test_a_signal_while_the_start_waits_for_the_database_ends_it_cleanly(
    folder: Path, database_url: str
) -> None:
    """The migration waits for a lock; the signal does not."""

    async def locked() -> None:
        connection = await asyncpg.connect(database_url)
        async with connection.transaction():
            await connection.execute("lock table graphile_worker.migrations")
            with running(folder, "worker", DATABASE_URL=database_url) as program:
                await until(lambda: connection.fetchval(SOMEBODY_WAITS))
                program.signal(signal.SIGTERM)
                assert program.exit_code() == 0
                assert "Traceback" not in program.text
        await connection.close()

    run(locked())
    assert row(database_url, LEFT) == {"jobs": 0, "locked": 0, "pools": 0}


def test_a_signal_while_the_database_is_away_ends_it_within_its_limits(
    folder: Path, database_url: str, server_url: str
) -> None:
    name = database_url.rpartition("/")[2]
    add(database_url, "hold", {})
    variables = {"DATABASE_URL": database_url, "KONGTASK_DRAIN_TIMEOUT": "1"}
    with running(folder, "worker", prelude=IMPATIENT, **variables) as program:
        program.until("holding$")
        run(_execute(
            server_url, f"alter database {name} with allow_connections false",
            f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'",
        ))  # fmt: skip
        program.until("no answer from PostgreSQL, trying again")
        program.signal(signal.SIGTERM)
        assert program.exit_code() == 1
        program.until("1 job was cut off")
        program.until("the heartbeat is left to run out")
        assert "Traceback" not in program.text
    run(_execute(server_url, f"alter database {name} with allow_connections true"))


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for each in statements:
            await connection.execute(each)
    finally:
        await connection.close()


def test_recurring_jobs_are_read_from_a_crontab(folder: Path, database_url: str) -> None:
    (folder / "crontab").write_text('* * * * * greet ?fill=2m {"name": "ann"}\n')
    known = "select count(*) from graphile_worker._private_known_crontabs"
    with running(folder, "worker", "--crontab", "crontab", DATABASE_URL=database_url) as program:
        program.until("working on")
        wait_for(program, database_url, known)
        program.signal(signal.SIGTERM)
        assert program.exit_code() == 0


def wait_for(program: Program, url: str, query: str) -> None:
    for _ in range(1000):
        if row(url, query)["count"]:
            return
    raise AssertionError(program.text)

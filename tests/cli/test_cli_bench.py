"""`kongtask bench` measures, says what it means, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cli_process import kongtask, running
from postgres_server import database_url as url_of
from postgres_server import run
from role_words import PASSWORD, as_role, execute, fetch, login_role
from waiting import until

from kongtask import bench

SMALL = ("bench", "--jobs", "1000")
SCHEMAS = "select nspname from pg_namespace where nspname !~ '^(pg_|information_schema|public)'"
IS_DROPPING = """select count(*) = 1 from pg_stat_activity
    where wait_event_type = 'Lock' and query ~ 'drop schema' and pid <> pg_backend_pid()"""
LASTING = """
from kongtask import bench
bench.REPETITIONS = 10**9
"""

LAST_STEP_LASTING = """
from kongtask import bench
real = bench._Bench._start

def lasting(self):
    bench.REPETITIONS, bench.PATIENCE = 10**9, 5.0
    return real(self)

bench._Bench._start = lasting
"""


def schemas(url: str) -> list[str]:
    return [row["nspname"] for row in run(fetch(url, SCHEMAS))]


def test_it_measures_and_says_what_that_means(folder: Path, empty_database_url: str) -> None:
    ran = kongtask(folder, *SMALL, DATABASE_URL=empty_database_url)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    for what in ("round trip", "commit", "adding one by one", "adding 1,000", "running"):
        assert any(line.strip().startswith(what) for line in lines), what
    assert [line[:2] for line in lines[-5:]] == ["- "] * 5
    assert "- fsync is off" in ran.out
    assert "running them ...\n" in ran.err
    assert "open-sesame" not in ran.out + ran.err
    assert schemas(empty_database_url) == []


def test_a_program_can_read_it(folder: Path, empty_database_url: str) -> None:
    """The schema that the environment names for workers is left alone."""
    url = empty_database_url
    ran = kongtask(folder, *SMALL, "-o", "json", DATABASE_URL=url, KONGTASK_SCHEMA="theirs")
    assert ran.code == 0, ran.err
    facts = json.loads(ran.out)
    assert facts["drained"] > 1000
    assert len(facts["meaning"]) == 5
    numbers = [name for name, value in facts.items() if isinstance(value, float)]
    assert len(numbers) == 9
    assert all(facts[name] > 0 for name in numbers)
    assert schemas(url) == []


def test_a_schema_that_exists_is_left_alone(folder: Path, database_url: str) -> None:
    ran = kongtask(folder, *SMALL, "-s", "graphile_worker", DATABASE_URL=database_url)
    assert ran.code == 2
    assert 'schema "graphile_worker" exists, and is left alone: give -s a name' in ran.err
    assert schemas(database_url) == ["graphile_worker"]


@pytest.mark.parametrize("which, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("step", ["measuring", "running them", "adding jobs to a worker"])
def test_a_signal_ends_it_and_the_schema_goes(
    folder: Path, empty_database_url: str, step: str, which: signal.Signals, code: int
) -> None:
    url, what = empty_database_url, ("bench", "-s", "mine")
    with running(folder, *what, prelude=LAST_STEP_LASTING, DATABASE_URL=url) as program:
        program.until(step)
        program.signal(which)
        assert program.exit_code() == code
        program.until("kongtask: stopped, nothing is left behind")
        assert "Traceback" not in program.text
    assert schemas(empty_database_url) == []


def test_the_schema_goes_after_an_error(folder: Path, empty_database_url: str) -> None:
    url, name = empty_database_url, empty_database_url.rpartition("/")[2]
    with running(folder, "bench", prelude=LASTING, DATABASE_URL=url) as program:
        program.until("measuring")
        cut = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
        run(execute(url_of(url, "postgres"), cut))
        assert program.exit_code() == 2
        program.until("kongtask: the connection to PostgreSQL was lost")
        assert "Traceback" not in program.text
    assert schemas(url) == []


async def test_a_role_that_may_not_is_told_so(folder: Path, empty_database_url: str) -> None:
    async with login_role(empty_database_url) as role:
        ran = kongtask(folder, *SMALL, DATABASE_URL=as_role(empty_database_url, role))
    assert ran.code == 2
    assert "kongtask: this role may not make a schema (permission denied" in ran.err
    assert PASSWORD not in ran.err
    assert "Traceback" not in ran.err


async def test_a_signal_while_the_schema_goes_is_answered_when_it_is_gone(
    folder: Path, empty_database_url: str
) -> None:
    """Somebody holds a table of it, so that it cannot go at once."""
    url = empty_database_url

    async def is_dropping() -> bool:
        return bool((await fetch(url, IS_DROPPING))[0][0])

    holder = await asyncpg.connect(url)
    what = (*SMALL, "-s", "mine")
    with running(folder, *what, prelude=LAST_STEP_LASTING, DATABASE_URL=url) as program:
        program.until("adding jobs to a worker")
        async with holder.transaction():
            await holder.execute("lock table mine._private_known_crontabs in access share mode")
            await until(is_dropping)
            program.signal(signal.SIGINT)
            program.until("stopping ...")
        assert program.exit_code() == 130
        program.until("kongtask: stopped, nothing is left behind")
    await holder.close()
    assert schemas(url) == []


async def test_a_role_with_little_time_for_a_statement_leaves_nothing_either(
    folder: Path, empty_database_url: str
) -> None:
    async def is_dropping_for_long() -> bool:
        [row] = await fetch(url, f"{IS_DROPPING} and now() - query_start > interval '1.2 s'")
        return bool(row[0])

    url = empty_database_url
    async with login_role(url) as role:
        name = url.rpartition("/")[2]
        grants = f"grant create on database {name} to {role}"
        await execute(url, grants, f"alter role {role} set statement_timeout = '1s'")
        holder = await asyncpg.connect(url)
        what, url_of_role = (*SMALL, "-s", "mine"), as_role(url, role)
        with running(folder, *what, prelude=LAST_STEP_LASTING, DATABASE_URL=url_of_role) as program:
            program.until("adding jobs to a worker")
            async with holder.transaction():
                await holder.execute("lock table mine._private_tasks in access share mode")
                await until(is_dropping_for_long)
            assert program.exit_code() == 0, program.text
        await holder.close()
    assert schemas(url) == []


@pytest.mark.parametrize(
    "setting, option, told",
    [
        ("connection limit 2", "mine", "5 connections are needed at once, and PostgreSQL refuses"),
        ("set default_transaction_read_only = on", "mine", "this database takes no writes"),
        ("createdb", "pg_mine", 'PostgreSQL keeps names such as "pg_mine" for itself'),
    ],
)
async def test_what_cannot_be_measured_is_told(
    folder: Path, empty_database_url: str, setting: str, option: str, told: str
) -> None:
    async with login_role(empty_database_url) as role:
        name = empty_database_url.rpartition("/")[2]
        await execute(
            empty_database_url,
            f"grant create on database {name} to {role}", f"alter role {role} {setting}",
        )  # fmt: skip
        url = as_role(empty_database_url, role)
        ran = kongtask(folder, *SMALL, "-s", option, DATABASE_URL=url)
    assert ran.code == 2
    assert f"kongtask: {told}" in ran.err
    assert "Traceback" not in ran.err
    assert schemas(empty_database_url) == []


async def test_jobs_that_are_left_do_not_count_as_started(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []
    real = bench._Bench._workers

    def counting(self: Any, handler: Any, **named: Any) -> Any:
        runs.append(0)
        at = len(runs) - 1

        async def counted(payload: Any, helpers: Any) -> None:
            runs[at] += 1
            await handler(payload, helpers)

        return real(self, counted, **named)

    monkeypatch.setattr(bench._Bench, "_workers", counting)
    monkeypatch.setattr(bench, "REPETITIONS", 20)
    monkeypatch.setattr(bench, "PATIENCE", 60)
    monkeypatch.setattr(bench, "LONGEST", 0.1)  # so that most jobs are left
    lines: list[str] = []
    measured = await bench.run_bench(empty_database_url, "mine", 50_000, lines.append)
    assert any(line.startswith("that took too long, going on with ") for line in lines)
    assert runs == [measured.drained, 21]

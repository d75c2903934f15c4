"""`kongtask bench` measures, says what it means, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from cli_process import kongtask, running
from postgres_server import database_url as url_of
from postgres_server import run
from role_words import PASSWORD, as_role, execute, fetch, login_role

SMALL = ("bench", "--jobs", "50")
SCHEMAS = "select nspname from pg_namespace where nspname !~ '^(pg_|information_schema|public)'"
LASTING = """
from kongtask import bench
bench.REPETITIONS = 10**9
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
    assert facts["drained"] > 50
    assert len(facts["meaning"]) == 5
    numbers = [name for name, value in facts.items() if isinstance(value, float)]
    assert len(numbers) == 8
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
    with running(folder, "bench", "-s", "mine", DATABASE_URL=empty_database_url) as program:
        program.until(step)
        program.signal(which)
        assert program.exit_code() == code
        program.until("kongtask: stopped, schema mine is gone again")
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

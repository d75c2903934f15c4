"""`kongtask roles` prints SQL that runs as it is; commands work with the roles it makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_process import Ran, kongtask
from postgres_server import run
from role_words import as_role, execute, fetch, login_role

from kongtask.postgres.statements import quote_schema

POLICIES = "select tablename, roles::text from pg_policies where schemaname = 'graphile_worker'"


def test_what_is_printed_runs_and_the_commands_work(folder: Path, database_url: str) -> None:
    async def scenario() -> None:
        async with login_role(database_url) as worker, login_role(database_url, "web; 'x'") as web:
            printed = kongtask(folder, "roles", "--worker-role", worker, "--add-role", web)
            assert (printed.code, printed.err) == (0, "")
            await execute(database_url, printed.out, printed.out)
            as_web, as_worker = as_role(database_url, web), as_role(database_url, worker)

            assert_added(kongtask(folder, "add", "greet", '{"name": "ann"}', "-c", as_web))
            assert_added(kongtask(folder, "add", "nonsense", "-c", as_web))
            listed = kongtask(folder, "jobs", "--state", "waiting", "-c", as_web)
            assert listed.code == 2
            assert "kongtask: this role may not do it" in listed.err
            assert "Traceback" not in listed.err
            ran = kongtask(folder, "worker", "-t", "tasks.py", "--once", "-c", as_worker)
            assert (ran.code, ran.out) == (0, "hello ann\n"), ran.err
            again = kongtask(folder, "add", "nonsense", "-c", as_worker)
            assert again.code == 0, again.err
            mistaken = kongtask(folder, "add", "gret", "-c", as_worker)
            assert "did you mean greet?" in mistaken.err

    run(scenario())


def assert_added(ran: Ran) -> None:
    assert (ran.code, ran.err) == (0, ""), ran.err
    assert ran.out.startswith("added job ")


def test_the_schema_is_the_one_that_is_meant(folder: Path, database_url: str) -> None:
    async def scenario() -> None:
        async with login_role(database_url) as role:
            printed = kongtask(folder, "roles", "--worker-role", role, GRAPHILE_WORKER_SCHEMA="a b")
            assert '"a b"._private_jobs' in printed.out
            printed = kongtask(folder, "roles", "--worker-role", role, "-s", "graphile_worker")
            await execute(database_url, printed.out)
            tables = await fetch(database_url, POLICIES)
            assert len(tables) == 5
            assert {row["roles"] for row in tables} == {f"{{{role}}}"}
            assert quote_schema(role) in printed.out

    run(scenario())


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ((), "no role: give --worker-role NAME"),
        (("--add-role", "x" * 64), "a role must have 1 to 63 bytes"),
        (("--worker-role", "a", "--add-role", "a"), "role 'a' cannot both work and only add"),
        (("--add-role", "pg_read_all_data"), "is PostgreSQL's own"),
        (("--add-role", "a", "-s", "s" * 64), "schema must have 1 to 63 bytes"),
    ],
    ids=["none", "too long", "both", "reserved", "schema"],
)
def test_mistakes_are_sentences(folder: Path, arguments: tuple[str, ...], sentence: str) -> None:
    ran = kongtask(folder, "roles", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert sentence in ran.err
    assert len(ran.err.splitlines()) == 1

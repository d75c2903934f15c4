"""`kongtask doctor` says in words and in JSON what is wrong, and by its exit code whether."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from busy_server import server_with
from cli_process import kongtask
from postgres_server import run, temporary_database
from role_words import PASSWORD, as_role, execute, login_role

JOBS = "graphile_worker._private_jobs"
SECRET = "the-secret-payload"


@pytest.fixture(scope="module")
def well_url() -> Iterator[str]:
    """A database of a server that vacuums, as the one of the test run does not."""
    with server_with(autovacuum="on") as server, temporary_database(server) as url:
        yield url


def test_all_is_well(folder: Path, well_url: str) -> None:
    assert kongtask(folder, "migrate", "-c", well_url).code == 0

    ran = kongtask(folder, "doctor", "-c", well_url)

    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].endswith(", schema graphile_worker, as role kongtask")
    assert [line.split(":")[0] for line in lines[1:-1]] == [
        f"fine    {check}"
        for check in (
            "server", "level", "rights", "drift", "stale locks", "queue locks", "unserved tasks",
            "failed jobs", "autovacuum", "dead rows", "oldest snapshot", "listen", "clock",
        )
    ]  # fmt: skip
    assert lines[-1] == "0 wrong, 0 unknown, 13 fine"
    assert "open-sesame" not in ran.out


def test_what_is_wrong_comes_with_why_and_what_to_do(folder: Path, database_url: str) -> None:
    run(
        execute(
            database_url,
            f"select graphile_worker.add_job('mail', '\"{SECRET}\"', max_attempts => 1)",
            f"update {JOBS} set attempts = 1, last_error = '{SECRET}', "
            "updated_at = now() - interval '90 minutes'",
        )
    )
    ran = kongtask(folder, "doctor", DATABASE_URL=database_url)

    assert ran.code == 1
    lines = ran.out.splitlines()
    at = lines.index("wrong   failed jobs: 1 job failed for good, the last 90 min ago: mail (1)")
    assert lines[at + 1].startswith("        why: they are not tried again")
    assert lines[at + 2].startswith("        then: see why with `kongtask jobs --state failed`")
    assert SECRET not in ran.out + ran.err


def test_programs_read_json(folder: Path, database_url: str) -> None:
    ran = kongtask(folder, "doctor", "-o", "json", DATABASE_URL=database_url)

    told = json.loads(ran.out)
    assert (ran.code, ran.err, told["is_fine"]) == (1, "", False)
    assert (told["schema"], told["role"]) == ("graphile_worker", "kongtask")
    assert told["database"].startswith("kongtask@127.0.0.1:")
    [wrong] = [each for each in told["findings"] if each["state"] == "wrong"]
    assert wrong.keys() == {"check", "state", "what", "why", "then"}
    assert wrong["check"] == "autovacuum"
    assert "open-sesame" not in ran.out


def test_a_database_without_the_schema_is_examined_too(
    folder: Path, empty_database_url: str
) -> None:
    ran = kongtask(folder, "doctor", "-c", empty_database_url)

    assert ran.code == 1
    assert 'wrong   level: schema "graphile_worker" does not exist\n' in ran.out
    assert "        then: run `kongtask migrate -s graphile_worker`\n" in ran.out
    assert "unknown failed jobs: not looked at: there is no table _private_jobs" in ran.out
    assert "fine    listen: " in ran.out


def test_a_weak_role_is_answered(folder: Path, database_url: str) -> None:
    async def examined() -> None:
        async with login_role(database_url) as role:
            read_only = f"alter role {role} set default_transaction_read_only = on"
            await execute(database_url, read_only)
            ran = kongtask(folder, "doctor", "-c", as_role(database_url, role))
            assert ran.code == 1
            assert f"wrong   rights: role '{role}' lacks usage on schema graphile_worker" in ran.out
            assert "fine    listen: " in ran.out
            assert PASSWORD not in ran.out + ran.err
            assert ran.err == ""

    run(examined())


def test_mistakes_are_sentences(folder: Path) -> None:
    ran = kongtask(folder, "doctor", "-c", f"postgres://u:{PASSWORD}@127.0.0.1:1/db")
    assert (ran.code, ran.out) == (2, "")
    assert "u@127.0.0.1:1/db: cannot reach PostgreSQL" in ran.err
    assert "Traceback" not in ran.err
    assert PASSWORD not in ran.err
    ran = kongtask(folder, "doctor")
    assert (ran.code, ran.err[:24]) == (2, "kongtask: no database: g")

"""`kongtask add` says what it added, and adds nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from cli_process import kongtask
from postgres_server import run

from kongtask import __version__


async def _payloads(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        query = "select payload::text from graphile_worker._private_jobs order by id"
        return [row["payload"] for row in await connection.fetch(query)]
    finally:
        await connection.close()


def test_a_job_is_added_and_named(folder: Path, database_url: str) -> None:
    ran = kongtask(folder, "add", "greet", '{"name": "ann"}', DATABASE_URL=database_url)
    assert (ran.code, ran.out, ran.err) == (0, "added job 1 (greet), to run now\n", "")
    assert run(_payloads(database_url)) == ['{"name": "ann"}']


def test_a_payload_comes_from_standard_input(folder: Path, database_url: str) -> None:
    text = json.dumps({"text": "öäü ✓" * 50_000})
    ran = kongtask(folder, "add", "greet", "-", stdin=text, DATABASE_URL=database_url)
    assert ran.code == 0
    assert [json.loads(each) for each in run(_payloads(database_url))] == [json.loads(text)]


def test_every_option_is_kept_and_can_be_read_by_programs(folder: Path, database_url: str) -> None:
    ran = kongtask(
        folder, "add", "greet", "[1, 2]", "-c", database_url, "--json", "--queue", "line",
        "--priority", "-5", "--max-attempts", "3", "--key", "k", "--key-mode", "preserve_run_at",
        "--flag", "b", "--flag", "a", "--run-at", "2031-01-31T09:00:00+0100",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    job = json.loads(ran.out)
    assert datetime.fromisoformat(job.pop("created_at")).tzinfo == UTC
    assert job == {
        "id": 1, "task_identifier": "greet", "payload": [1, 2], "queue_name": "line",
        "priority": -5, "run_at": "2031-01-31T08:00:00+00:00", "attempts": 0, "max_attempts": 3,
        "key": "k", "revision": 0, "flags": ["a", "b"], "last_error": None, "locked_by": None,
    }  # fmt: skip


def test_a_job_of_the_future_says_when(folder: Path, database_url: str) -> None:
    ran = kongtask(
        folder, "add", "greet", "--run-at", "2031-01-31T09:00:00+0100", DATABASE_URL=database_url
    )
    assert ran.out == "added job 1 (greet), to run at 2031-01-31 08:00:00 UTC\n"


def test_zeros_are_values(folder: Path, database_url: str) -> None:
    ran = kongtask(
        folder, "add", "greet", "0", "--priority", "0", "--json", DATABASE_URL=database_url
    )
    job = json.loads(ran.out)
    assert (job["payload"], job["priority"], job["max_attempts"]) == (0, 0, 25)


def test_the_module_and_the_script_are_the_same_command(folder: Path) -> None:
    """Here with a new interpreter each."""
    script = Path(sys.executable).with_name("kongtask")
    for command in ([sys.executable, "-m", "kongtask"], [str(script)]):
        done = subprocess.run(
            [*command, "--version"], cwd=folder, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, f"kongtask, version {__version__}\n")

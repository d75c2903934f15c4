"""A real `kongtask dev`: real worker processes on a real database."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from dev_process import PATIENCE, TASKS, dev, is_there, notes, wait_until_gone, write_manifest
from postgres_server import run
from waiting import wait_until

Jobs = Callable[[], list[tuple[bool, int]]]

STEADY: dict[str, Any] = {"scaling": {"minReplicas": 1, "maxReplicas": 1, "pollPeriodSeconds": 1}}


def test_workers_come_with_the_jobs_and_go_after_the_cooldown(
    folder: Path, database_url: str, add: Any, jobs: Jobs
) -> None:
    write_manifest(folder)
    with dev(folder, "pool.yaml", "-c", database_url) as process:
        process.until(r"mail +\| .* schema: mail-migrate-\w+ migrated the schema to 20")
        add("write", *({"n": n} for n in range(6)))
        process.until(r"scale 0 → [123]: ")
        process.until(r"mail-\d +\| .* ready")
        process.until(r"scale \d → 0: 0 = ceil\(\(0 ready \+ 0 running\) / 2\)")
        process.until(r"mail-1 +\| .* ended \(process \d+\)")
    assert sorted(notes(folder)) == [f"wrote {n}" for n in range(6)]
    assert jobs() == []


def test_an_empty_database_is_migrated_and_the_first_jobs_are_run(
    folder: Path, empty_database_url: str
) -> None:
    write_manifest(folder)
    first = ("--add", "write", '{"n": 1}', "--add", "write", '{"n": 2}')
    with dev(folder, "pool.yaml", "-c", empty_database_url, *first) as process:
        process.until(r"added job 1 \(write\), job 2 \(write\)")
        process.until(r"kongtask add write '\{\"n\": 1\}' -c URL")
        process.until(r"scale \d → 0")
    assert sorted(notes(folder)) == ["wrote 1", "wrote 2"]
    password = empty_database_url.partition("@")[0].rpartition(":")[2]
    assert password not in process.text


def test_a_crontab_adds_its_jobs(folder: Path, database_url: str) -> None:
    async def last_run_five_minutes_ago() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "insert into graphile_worker._private_known_crontabs "
            "values ('write', now() - interval '1 h', now() - interval '5 min')"
        )
        await connection.close()

    run(last_run_five_minutes_ago())
    write_manifest(folder, crontab='* * * * * write ?fill=10m {"n": "by cron"}\n')
    with dev(folder, "pool.yaml", "-c", database_url) as process:
        process.until(r"crontab: 1 recurring job")
        process.until(r"completed write")
        process.until(r"scale \d → 0")
    assert notes(folder)[:4] == ["wrote by cron"] * 4


def test_ctrl_c_lets_a_running_job_finish(
    folder: Path, database_url: str, add: Any, jobs: Jobs
) -> None:
    write_manifest(folder)
    add("hold", {})
    with dev(folder, "pool.yaml", "-c", database_url) as process:
        process.until("holding")
        process.signal(signal.SIGINT)
        process.until(r"SIGINT, stopping: 1 worker may finish running jobs, SIGINT again ends them")
        process.until(r"mail-1 +\| .* stopping")
        assert jobs() == [(True, 1)]
        (folder / "go").touch()
        assert process.exit_code() == 0
    assert notes(folder) == ["let go"]
    assert jobs() == []
    assert "Traceback" not in process.text


def test_a_second_ctrl_c_ends_at_once(folder: Path, database_url: str, add: Any) -> None:
    write_manifest(folder)
    add("hold", {})
    with dev(folder, "pool.yaml", "-c", database_url) as process:
        process.until("holding")
        process.signal(signal.SIGINT)
        process.until(r"mail-1 +\| .* stopping")
        process.signal(signal.SIGINT)
        process.until(r"mail-1 +\| .* killed")
        assert process.exit_code() == 1
    assert notes(folder) == []


def test_a_drain_that_takes_too_long_gives_the_job_back(
    folder: Path, database_url: str, add: Any, jobs: Jobs
) -> None:
    write_manifest(folder, drain={"timeoutSeconds": 1})
    add("hold", {})
    with dev(folder, "pool.yaml", "-c", database_url) as process:
        process.until("holding")
        process.signal(signal.SIGTERM)
        process.until("SIGTERM, stopping")
        assert process.exit_code() == 0
    assert [locked for locked, _ in jobs()] == [False]


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda folder: write_manifest(folder, **STEADY, concurrency=3), id="manifest"),
        pytest.param(lambda folder: (folder / "tasks.py").write_text(TASKS + "\n#\n"), id="tasks"),
    ],
)
def test_an_edit_replaces_the_worker_once_the_new_one_is_ready(
    folder: Path, database_url: str, edit: Callable[[Path], object]
) -> None:
    write_manifest(folder, **STEADY)
    with dev(folder, "pool.yaml", "-c", database_url) as process:
        process.until(r"mail-1 +\| .* ready")
        edit(folder)
        process.until("the manifest or its tasks changed")
        process.until(r"mail-2 +\| .* ready")
        process.until(r"mail-1 +\| .* stopping")
        process.until(r"mail-1 +\| .* ended")


def test_an_edit_that_fails_replaces_nothing(folder: Path, database_url: str, add: Any) -> None:
    write_manifest(folder, **STEADY)
    with dev(folder, "pool.yaml", "-c", database_url) as process:
        process.until(r"mail-1 +\| .* ready")
        (folder / "tasks.py").write_text("def broken(:\n")
        process.until(r"tasks 'tasks' cannot be imported: SyntaxError: .*line 1.*runs on")
        (folder / "pool.yaml").write_text("kind: [")
        process.until(r"pool.yaml, line 1, column 8: .*runs on")
        add("write", {"n": 1})
        process.until(r"mail-1 +\| .* completed write")
        assert "mail-2" not in process.text
        (folder / "tasks.py").write_text(TASKS + "\n#\n")
        write_manifest(folder, **STEADY)
        process.until(r"mail-2 +\| .* ready")


def test_another_name_needs_another_start(folder: Path, database_url: str, add: Any) -> None:
    write_manifest(folder)
    with dev(folder, "pool.yaml", "-c", database_url) as process:
        process.until(r"schema: mail-migrate-\w+ migrated")
        text = (folder / "pool.yaml").read_text()
        (folder / "pool.yaml").write_text(text.replace("name: mail", "name: post"))
        process.until(r"the pool is now called post: start kongtask dev again")
        add("write", {"n": 1})
        process.until(r"mail-1 +\| .* completed write")


def test_a_signal_at_the_start_is_heard(folder: Path) -> None:
    began = folder / "began"
    text = "import pathlib, time\npathlib.Path('began').touch()\ntime.sleep(600)\n"
    (folder / "tasks.py").write_text(text)
    write_manifest(folder)
    with dev(folder, "pool.yaml") as process:
        wait_until(began.exists, PATIENCE)
        process.signal(signal.SIGINT)
        process.until("SIGINT, stopping")
        assert process.exit_code() == 0
    assert "Traceback" not in process.text


def test_a_worker_that_crashes_is_started_again_with_its_last_words_shown(
    folder: Path, database_url: str, add: Any
) -> None:
    write_manifest(folder)
    add("die", {})
    with dev(folder, "pool.yaml", "-c", database_url) as process:
        process.until(r"mail-1 +\| .* started")
        process.until(r"exit code 7: the last words of the worker \(starting again in 1 s\)")
        process.until(r"mail-1 +\| .* started")


def test_variables_that_only_a_cluster_knows_are_taken_from_the_shell(
    folder: Path, database_url: str, add: Any
) -> None:
    secret = {"secretKeyRef": {"name": "keys", "key": "mail"}}
    env = [{"name": "COLOUR", "value": "red"}, {"name": "KEY", "valueFrom": secret},
           {"name": "OTHER", "valueFrom": secret}]  # fmt: skip
    write_manifest(folder, env=env)
    add("show", {})
    with dev(folder, "pool.yaml", "-c", database_url, KEY="from the shell") as process:
        process.until(r"env KEY: secretKeyRef is not looked up, the value of this shell is taken")
        process.until(r"env OTHER: secretKeyRef is not looked up here: export OTHER=…")
        process.until("completed show")
    assert notes(folder) == ["red from the shell"]


def test_nothing_lives_on_when_dev_is_killed(folder: Path) -> None:
    write_manifest(folder, **STEADY)
    with dev(folder, "pool.yaml") as process:
        worker = int(process.until(r"mail-1 +\| .* started \(process (\d+)\)")[1])
        process.until(r"mail-1 +\| .* ready")
        server = int((folder / ".kongtask/postgres/postmaster.pid").read_text().split()[0])
        assert is_there(worker)
        assert is_there(server)
        process.signal(signal.SIGKILL)
        wait_until_gone(worker)
        wait_until_gone(server)


def test_the_database_of_its_own_is_for_others_too_and_keeps_its_jobs(folder: Path) -> None:
    write_manifest(folder, suspend=True)
    with dev(folder, "pool.yaml") as process:
        url = process.until(r"database: PostgreSQL \d+ at (\S+)")[1]
        process.until(r"database: the database answers")
        with dev(folder, "pool.yaml") as second:
            assert second.exit_code() == 2
        assert "another kongtask dev (process" in second.text
        assert f"-c '{url}'" in second.text
        process.signal(signal.SIGTERM)
        assert process.exit_code() == 0
    write_manifest(folder)
    with dev(folder, "pool.yaml", "--add", "write", '{"n": 1}') as process:
        process.until("completed write")
        added = run(_added_by_another(url))
        process.until("completed write")
    with dev(folder, "pool.yaml", "--add", "write", '{"n": 3}') as process:
        process.until(rf"added job {added + 1} ")
        process.until("completed write")
    assert notes(folder) == ["wrote 1", "wrote 2", "wrote 3"]


async def _added_by_another(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        added: int = await connection.fetchval(
            """select id from graphile_worker.add_job('write', '{"n": 2}')"""
        )
        return added
    finally:
        await connection.close()


def _kind(kind: str, name: str) -> str:
    return f"---\napiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}}}\n"


def test_other_documents_of_the_manifest_are_named_and_left_alone(folder: Path) -> None:
    write_manifest(folder, suspend=True)
    pool = (folder / "pool.yaml").read_text()
    (folder / "pool.yaml").write_text(_kind("Secret", "database") + "---\n" + pool)
    with dev(folder, "pool.yaml", "-c", "postgres://localhost:1/none") as process:
        process.until(r"image shop/tasks:1 and Secret database play no part here")
        process.until(r"left alone: Secret database")
        process.until(r"database: localhost:1/none: cannot reach PostgreSQL")


@pytest.mark.parametrize(
    "files, arguments, sentence",
    [
        pytest.param({}, ["none.yaml"], "none.yaml cannot be read: No such file", id="no file"),
        pytest.param(
            {"pool.yaml": "kind: [A"}, ["pool.yaml"], "pool.yaml, line 1, column 9: ", id="no YAML"
        ),
        pytest.param({"tasks.py": "import nothing_there\n"}, ["pool.yaml"],
                     "ModuleNotFoundError: No module named 'nothing_there' (", id="no module"),
        pytest.param({}, ["pool.yaml", "-c", "mysql://x"], "begins with mysql://", id="no URL"),
        pytest.param({}, ["pool.yaml", "--add", "none", "{}"],
                     "--add none: no such task, there are die, hold, show, write", id="no task"),
        pytest.param({}, ["pool.yaml", "--add", "write", "{n}"],
                     "--add write: the payload is not JSON (Expecting", id="no JSON"),
        pytest.param({}, ["pool.yaml", "--add", "write", "[" * 10_000],
                     "--add write: the payload is not JSON (nested", id="nested too deeply"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_starts_nothing(
    folder: Path, files: dict[str, str], arguments: list[str], sentence: str
) -> None:
    write_manifest(folder)
    for name, text in files.items():
        (folder / name).write_text(text)
    with dev(folder, *arguments) as process:
        assert process.exit_code() == 2
    assert [line.startswith("kongtask: ") for line in process.lines] == [True]
    assert sentence in process.text
    assert not (folder / ".kongtask").exists()


def test_nothing_of_kubernetes_is_needed() -> None:
    program = (
        "import sys, kongtask.dev.session; "
        "print(sorted({'kopf', 'kubernetes', 'aiohttp'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"

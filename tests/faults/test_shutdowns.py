"""SIGTERM at random moments under load: nothing stays locked, is lost, or runs twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest

import kongtask

Pool: TypeAlias = "asyncpg.Pool[Any]"
PROGRAM = Path(__file__).with_name("storm_program.py")
IS_LONG = bool(os.environ.get("KONGTASK_TEST_LONG"))
RUNS = {"handled": 100 if IS_LONG else 4, "embedded": 20 if IS_LONG else 2,
        "web": 20 if IS_LONG else 2, "uvloop": 20 if IS_LONG else 2}  # fmt: skip
PATIENCE = 60.0
LOCKED = """
select (select count(*) from graphile_worker._private_jobs where locked_at is not null)
    + (select count(*) from graphile_worker._private_job_queues where locked_at is not null)
"""


@contextmanager
def program(how: str, folder: Path, database_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the program; it is killed if the test fails."""
    environment = {**os.environ, "DATABASE_URL": database_url}
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), how], cwd=folder, env=environment, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_notes(process: subprocess.Popen[bytes], notes: Path, count: int) -> None:
    """Return when so many lines were written."""
    deadline = time.monotonic() + PATIENCE
    while not notes.exists() or notes.read_bytes().count(b"\n") < count:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline, "the program did not get so far"
        time.sleep(0.002)


@pytest.mark.parametrize("how", list(RUNS))
async def test_a_signal_at_any_moment_leaves_nothing_behind(
    how: str, pool: Pool, database_url: str, tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    utils = kongtask.WorkerUtils(pool)
    added, notes = 0, tmp_path / "notes"
    for _ in range(RUNS[how]):
        wanted = [
            (chance.choice(["on_loop", "on_loop", "in_thread", "in_process"]),
             chance.choice([0, 0.001, 0.02, 0.1]),
             kongtask.TaskSpec(queue_name=chance.choice([None, None, None, "line"])))
            for _ in range(300)
        ]  # fmt: skip
        added += len(wanted)
        await utils.add_jobs(wanted, return_jobs=False)
        written = notes.read_bytes().count(b"\n") if notes.exists() else 0
        with program(how, tmp_path, database_url) as process:
            wait_for_notes(process, notes, written + chance.randint(1, 300))
            process.send_signal(signal.SIGTERM)
            error = process.communicate(timeout=PATIENCE)[1].decode()
            assert process.returncode in (0, -signal.SIGTERM if how == "web" else 0), error
        assert await pool.fetchval(LOCKED) == 0
    left = await pool.fetchval("select count(*) from graphile_worker._private_jobs")
    found = Counter(tuple(line.split()[:2]) for line in notes.read_text().splitlines())
    begun = [job for word, job in found if word == "begin"]
    assert {each for each in found if each[0] != "ready"} == {
        (word, job) for word in ("begin", "end") for job in begun
    }
    assert {count for (word, _), count in found.items() if word != "ready"} == {1}
    assert len(begun) + left == added

"""The server's disk is full: work waits until there is room again."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from durable_server import DATABASE, DurableServer
from fault_words import (
    IS_LONG,
    add,
    all_done,
    end_well,
    execute,
    listening,
    ready,
    resumed,
    told,
    working,
)
from waiting import until
from worker_processes import HOUR, Runs, Start, now

JOBS = 3000 if IS_LONG else 2000
DISK = 200
"""Megabytes of the whole disk."""

LONG_RECORD = "select pg_logical_emit_message(false, 'kongtask', repeat('x', 4000000))"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="to mount a small disk takes root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own for the server's data."""
    folder = tmp_path / "disk"
    folder.mkdir()
    for each in (tmp_path, *list(tmp_path.parents)[:3]):
        with suppress(PermissionError):
            each.chmod(each.stat().st_mode | 0o011)  # the server runs as somebody else
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m,mode=755", "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def cramped(pristine: DurableServer, small_disk: Path) -> Iterator[DurableServer]:
    """A server on the small disk."""
    subprocess.run(["cp", "-a", str(pristine.data), str(small_disk / "data")], check=True)
    server = DurableServer(pristine.programs, small_disk)
    server.start(max_wal_size="64MB")
    yield server
    server.stop("immediate")


@pytest.mark.parametrize("what", ["tables", "write-ahead log"])
async def test_a_disk_that_is_full_for_a_while(
    cramped: DurableServer, start: Start, runs: Runs, what: str
) -> None:
    url = cramped.url(DATABASE)
    workers = [start(url, "--poll-interval", HOUR) for _ in range(2)]
    await working(workers)
    # Without the room that pages keep for it, a job's new version needs a page of its own.
    await execute(url, "alter table graphile_worker._private_jobs set (fillfactor = 100)")
    await add(url, range(JOBS), more={"pad": "x" * 1500})
    await until(lambda: len(runs.ended()) > 50)
    with _filled(cramped.folder / "ballast"):
        if what == "write-ahead log":
            await _crash(cramped)
        await ready(workers, is_ready=False)
        for each in workers:
            assert each.probe("/livez")[0] == 200
        assert not cramped.is_up or "No space left on device" in cramped.said
    if not cramped.is_up:
        await asyncio.to_thread(cramped.start)  # what whoever looks after the server would do
    back = now()
    await resumed(runs, workers, back)
    await listening(url, 2, back)
    await all_done(url, runs, range(JOBS))
    assert runs.repeated() == set()
    await told(workers, None)
    await end_well(url, workers)


@contextmanager
def _filled(file: Path) -> Iterator[None]:
    """Fill the disk to the last byte while the block runs."""
    with file.open("wb", buffering=0) as ballast:
        with suppress(OSError):
            while True:
                ballast.write(bytes(1 << 20))
        with suppress(OSError):
            while True:
                ballast.write(bytes(1 << 10))
    try:
        yield
    finally:
        file.unlink()


async def _crash(server: DurableServer) -> None:
    """Have the server need another file for its log: without room it ends at once."""

    async def is_down() -> bool:
        try:
            await execute(server.url(), LONG_RECORD)
        except (OSError, asyncpg.PostgresError):
            return not server.is_up  # its last words find no room in its log
        return False

    await until(is_down)

"""The PostgreSQL that `kongtask dev` keeps for itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kongtask.clock import Clock
from kongtask.dev.embedded import EmbeddedServer
from kongtask.dev.guarding import Guard
from kongtask.errors import ConfigurationError, StoreUnavailable
from kongtask.postgres.pool import connect


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[EmbeddedServer]:
    guard = Guard()
    await guard.start()
    try:
        async with EmbeddedServer(folder, guard, Clock()) as running:
            yield running
    finally:
        await guard.close()


async def asked(url: str, question: str) -> object:
    connection = await connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def postmaster(folder: Path) -> int:
    return int((folder / "postgres" / "postmaster.pid").read_text().split()[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests, with a name that wants care; making it takes a second."""
    return tmp_path_factory.mktemp("my shop") / ".kongtask"


async def test_what_was_written_is_there_after_a_restart(folder: Path) -> None:
    async with server(folder) as running:
        await asked(running.url, "create table kept as select 42 as answer")
        assert (folder / ".gitignore").read_text() == "*\n"
        url = running.url
    with pytest.raises(StoreUnavailable):
        await asked(url, "select 1")
    async with server(folder) as running:
        assert running.url == url
        assert await asked(url, "select answer from kept") == 42


async def test_a_second_one_in_the_same_folder_is_told_of_the_first(folder: Path) -> None:
    async with server(folder) as running:
        with pytest.raises(ConfigurationError) as caught:
            await EmbeddedServer(folder, Guard(), Clock()).__aenter__()
        assert f"another kongtask dev (process {os.getpid()}) uses" in str(caught.value)
        assert f"-c '{running.url}'" in str(caught.value)
        assert await asked(running.url, "select 1") == 1


async def test_one_that_ends_by_itself_is_an_error_that_names_the_log(folder: Path) -> None:
    async with server(folder) as running:
        os.kill(postmaster(folder), signal.SIGINT)
        with pytest.raises(StoreUnavailable, match=r"PostgreSQL ended: .*postgres\.log"):
            async with asyncio.timeout(30):
                await running.ended()


async def test_one_that_an_earlier_run_left_is_ended_and_its_data_taken_on(folder: Path) -> None:
    guard = Guard()
    left = EmbeddedServer(folder, guard, Clock())
    await left.__aenter__()
    assert left._lock is not None
    left._lock.close()
    first = postmaster(folder)
    async with server(folder) as running:
        assert postmaster(folder) != first
        assert await asked(running.url, "select 1") == 1


async def test_a_trace_that_names_another_process_is_no_server(folder: Path) -> None:
    stranger = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import time; time.sleep(600)"
    )
    (folder / "postgres" / "postmaster.pid").write_text(f"{stranger.pid}\n/elsewhere\n")
    async with server(folder) as running:
        assert await asked(running.url, "select 1") == 1
    assert stranger.returncode is None
    stranger.kill()
    await stranger.wait()


async def test_a_path_too_long_for_a_socket_is_no_hindrance(folder: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20) / ("folder" * 10)
    async with server(deep) as running:
        assert await asked(running.url, "select 1") == 1


async def test_data_that_cannot_be_used_gives_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18\n")
    with pytest.raises(StoreUnavailable, match=r"does not start: .*: see .*postgres\.log"):
        async with server(tmp_path):
            raise AssertionError("it started")
    (tmp_path / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(StoreUnavailable, match=r"cannot be prepared: .*name a server of yours"):
        async with server(tmp_path):
            raise AssertionError("it started")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
async def test_a_folder_that_root_copied_is_taken_on(folder: Path, tmp_path: Path) -> None:
    async with server(folder) as running:
        await asked(running.url, "create table if not exists copied as select 1")
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns(".s.*"))
    async with server(tmp_path / "copy") as running:
        assert await asked(running.url, "select count(*) from copied") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
async def test_root_opens_folders_no_further_than_to_pass_through(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    async with server(closed / "state") as running:
        assert running.opened[0] == closed
        assert await asked(running.url, "select 1") == 1
    assert closed.stat().st_mode & 0o777 == 0o701
    async with server(closed / "state") as running:
        assert running.opened == ()
        assert await asked(running.url, "select 1") == 1
    assert closed.stat().st_mode & 0o777 == 0o701

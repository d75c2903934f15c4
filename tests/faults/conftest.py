"""Each test has a server of its own, a copy of one that was made once, and workers on it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "interop"))

from durable_server import DATABASE, DurableServer
from graphile import Graphile, install
from migrated import migrate
from postgres_server import execute, new_folder, reachable_programs, run
from worker_processes import TASKS, Runs, Start, WorkerProcess


@pytest.fixture(scope="session")
def node() -> Graphile:
    """Graphile Worker, installed once."""
    return install()


@pytest.fixture(scope="session")
def pristine() -> Iterator[DurableServer]:
    """A stopped server that holds a migrated database."""
    folder = new_folder("kongtask-fault-")
    server = DurableServer(reachable_programs(folder), folder)
    try:
        server.initialise()
        server.start()
        run(execute(server.url(), f"create database {DATABASE}"))
        run(migrate(server.url(DATABASE)))
        server.stop()
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder)


@pytest.fixture
def new_server(pristine: DurableServer) -> Iterator[Callable[[], DurableServer]]:
    """Makes servers, not started, each with a copy of the data."""
    made: list[DurableServer] = []

    def make() -> DurableServer:
        folder = new_folder("kongtask-fault-")
        subprocess.run(["cp", "-a", str(pristine.data), str(folder / "data")], check=True)
        made.append(DurableServer(pristine.programs, folder))
        return made[-1]

    yield make
    for server in made:
        server.stop("immediate")
        shutil.rmtree(server.folder)


@pytest.fixture
def server(new_server: Callable[[], DurableServer]) -> DurableServer:
    """A server that runs."""
    server = new_server()
    server.start()
    return server


@pytest.fixture
def url(server: DurableServer) -> str:
    """The migrated database of the test's server."""
    return server.url(DATABASE)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts worker processes with the tasks of this suite, and kills what is left of them."""
    (tmp_path / "tasks.py").write_text(TASKS)
    started: list[WorkerProcess] = []

    def start(url: str, *flags: str, concurrency: int = 5) -> WorkerProcess:
        name = f"worker-{len(started)}"
        started.append(WorkerProcess(tmp_path, name, url, *flags, concurrency=concurrency))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """What the handlers noted."""
    return Runs(tmp_path)

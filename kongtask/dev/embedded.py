"""A PostgreSQL of the project's own: started and stopped with `kongtask dev`, its data kept.

It listens on a socket in its own folder and on no network. It knows nothing of jobs.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
from asyncio.subprocess import DEVNULL, STDOUT, Process
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from kongtask.clock import Clock
from kongtask.dev.embedded_files import (
    Installation,
    end_leftover,
    lock_folder,
    note_owner,
    prepare,
    socket_folder,
)
from kongtask.dev.guarding import Guard
from kongtask.errors import ConfigurationError, StoreUnavailable
from kongtask.postgres.pool import connect

START_PATIENCE = 60.0
"""Seconds that a start may take; after a crash the log is played back first."""

STOP_PATIENCE = 20.0
"""Seconds that a stop may take before the server is killed."""

MAX_CONNECTIONS = 400
"""Enough for dozens of workers; memory is taken only by those that are open."""


class EmbeddedServer:
    """One server under one folder. Entering starts it, leaving stops it."""

    def __init__(self, folder: Path, guard: Guard, clock: Clock) -> None:
        self._folder = folder
        self._guard = guard
        self._clock = clock
        self._lock: IO[str] | None = None
        self._process: Process | None = None
        self._sockets = folder
        self.url = ""
        self.version = ""
        self.user: str | None = None
        self.opened: tuple[Path, ...] = ()

    @property
    def log(self) -> Path:
        """The file that the server writes its log to."""
        return self._folder / "postgres.log"

    async def __aenter__(self) -> EmbeddedServer:
        """Start it; raises `ConfigurationError` when another process uses the folder."""
        self._lock = lock_folder(self._folder)
        try:
            there = await asyncio.to_thread(prepare, self._folder)
            await asyncio.to_thread(end_leftover, there)
            await self._start(there)
            await self._answering()
            note_owner(self._lock, self.url)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def ended(self) -> None:
        """Return never; raises `StoreUnavailable` when the server ends by itself."""
        assert self._process is not None
        await self._process.wait()
        raise StoreUnavailable(f"the embedded PostgreSQL ended: {self._last_words()}")

    async def close(self) -> None:
        """Stop the server and give the folder back. Closing twice is fine."""
        process, self._process = self._process, None
        if process is not None:
            await _stopped(process)
            self._guard.left(process.pid)
            with suppress(OSError):  # a folder that holds more than the socket did stays
                self._sockets.rmdir()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _start(self, there: Installation) -> None:
        sockets = self._sockets = socket_folder(there)
        self.version = there.version
        self.user, self.opened = there.user, there.opened
        self.url = socket_url(sockets)
        with self.log.open("w") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(there.programs / "postgres"),
                *("-D", str(there.data), "-c", "listen_addresses="),
                *("-c", f'unix_socket_directories="{sockets}"'),
                *("-c", f"max_connections={MAX_CONNECTIONS}"),
                stdin=DEVNULL, stdout=log, stderr=STDOUT, start_new_session=True,
                **_as_user(there.user),
            )  # fmt: skip
        self._guard.server(self._process.pid, STOP_PATIENCE)

    async def _answering(self) -> None:
        assert self._process is not None
        deadline = self._clock.monotonic() + START_PATIENCE
        while self._clock.monotonic() < deadline and self._process.returncode is None:
            try:
                connection = await connect(self.url, application_name="kongtask-dev")
            except (StoreUnavailable, ConfigurationError):
                await self._clock.sleep(0.05)
            else:
                await connection.close()
                return
        raise StoreUnavailable(f"the embedded PostgreSQL does not start: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        told = [line for line in lines if "FATAL" in line or "PANIC" in line] or lines
        return f"{told[-1] if told else 'no word of it'}: see {self.log}"


def socket_url(folder: Path) -> str:
    """Return the connection string for a server whose socket is in this folder.

    >>> socket_url(Path("/home/ann/my shop/.kongtask/postgres"))
    'postgresql://postgres@/postgres?host=/home/ann/my%20shop/.kongtask/postgres'
    """
    return f"postgresql://postgres@/postgres?host={quote(str(folder))}"


def _as_user(name: str | None) -> dict[str, Any]:
    """Return how to start a process as this user; root alone can do that."""
    if name is None:
        return {}
    group = pwd.getpwnam(name).pw_gid
    home = {**_plain_environment(), "HOME": pwd.getpwnam(name).pw_dir}
    return {"user": name, "group": group, "extra_groups": [], "env": home, "cwd": "/"}


def _plain_environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}


async def _stopped(process: Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(STOP_PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()

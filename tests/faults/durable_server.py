"""A PostgreSQL server that keeps what it promised: stopped, killed and started on the same data.

Unlike the one that other tests share, it flushes. Its port stays its own through every stop.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Literal

import asyncpg
from postgres_server import (
    PASSWORD,
    PATIENCE,
    USER,
    execute,
    free_port,
    initialise,
    launch,
    run,
)

DATABASE = "shop"
"""The migrated database of every server."""

Stop = Literal["fast", "immediate", "kill"]

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "max_wal_size": "128MB",
    "min_wal_size": "32MB",
    "autovacuum_naptime": "5s",
    "timezone": "UTC",
}
"""Durable: fsync, synchronous_commit and full_page_writes stay as PostgreSQL has them."""

_SIGNALS: dict[Stop, signal.Signals] = {
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
    "kill": signal.SIGKILL,
}


class DurableServer:
    """One data folder and one port; up or down."""

    def __init__(self, programs: Path, folder: Path, port: int | None = None) -> None:
        self.programs = programs
        self.folder = folder
        self.data = folder / "data"
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def initialise(self) -> None:
        """Make the data folder."""
        initialise(self.programs, self.data, self.folder)

    def url(self, database: str = "postgres", port: int | None = None) -> str:
        """The URL of a database, over another port where something stands before the server."""
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port or self.port}/{database}"

    @property
    def said(self) -> str:
        """The server's log."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def is_up(self) -> bool:
        """Whether its first process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, **settings: str) -> None:
        """Start it and return when it answers."""
        self.launch(**settings)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process is not None
            code = self._process.poll()
            assert code is None, f"PostgreSQL ended with {code}:\n{self.said}"
            assert time.monotonic() < deadline, f"PostgreSQL does not answer:\n{self.said}"
            time.sleep(0.01)

    def launch(self, **settings: str) -> None:
        """Start it and return at once."""
        chosen = SETTINGS | {"port": str(self.port)} | settings
        self._process = launch(self.programs, self.data, self.folder, chosen)

    def stop(self, how: Stop = "fast") -> None:
        """Stop it and return when it is gone."""
        if self._process is None:
            return
        if how == "kill":
            self._kill_all()
        else:
            self._process.send_signal(_SIGNALS[how])
        self._process.wait(PATIENCE)
        self._process = None

    def reload(self) -> None:
        """Have it read its settings again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def promote(self) -> None:
        """Make a standby a primary, and return when it takes writes."""
        run(execute(self.url(), "select pg_promote()"))

    def _answers(self) -> bool:
        try:
            run(execute(self.url(), "select 1"))
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    def _kill_all(self) -> None:
        """Kill the server and its children, as a power cut would."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            os.kill(each, signal.SIGKILL)

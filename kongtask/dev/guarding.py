"""Keeps the guard told of the processes that must not outlive this one."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

_PROGRAM = Path(__file__).with_name("guard.py")


class Guard:
    """The guard's process, from this side; starting it twice is a mistake, leaving it is not."""

    def __init__(self) -> None:
        self._process: Process | None = None

    async def start(self) -> None:
        """Start the guard, out of reach of the terminal's ctrl-C."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(_PROGRAM),
            stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True,
        )  # fmt: skip

    def worker(self, pid: int, patience: float) -> None:
        """Note a worker, and how many seconds it may take to end."""
        self._tell(f"worker {pid} {patience}")

    def server(self, pid: int, patience: float) -> None:
        """Note a server, which is to end after all workers."""
        self._tell(f"server {pid} {patience}")

    def left(self, pid: int) -> None:
        """Note that a process has ended."""
        self._tell(f"left {pid}")

    async def close(self) -> None:
        """Let the guard go; what it still knows of is ended by it."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            await process.wait()

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(f"{line}\n".encode())

"""A real `kongtask` and the folder it runs in: started, read line by line, ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 30.0
"""Seconds until a line, or an end, that does not come fails the test."""

MAIN = "from kongtask.cli import main; main()"

TASKS = """
import asyncio, time
from pathlib import Path

from kongtask import task

def go():
    return Path("go").exists()

@task
async def greet(payload, helpers):
    print("hello", payload["name"], flush=True)

@task
async def fail(payload, helpers):
    raise ValueError("no such address")

@task
async def hold(payload, helpers):
    helpers.logger.info("holding")
    while not go():
        await asyncio.sleep(0.01)

@task
def sit(payload, helpers):
    helpers.logger.info("sitting")
    while not go():
        time.sleep(0.01)

@task
async def cling(payload, helpers):
    helpers.logger.info("clinging")
    while True:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            pass
"""


def environment(folder: Path, **changed: str) -> dict[str, str]:
    """The environment of this process without what KongTask and libpq read, and what is given."""
    ours = ("KONGTASK_", "GRAPHILE_", "OTEL_", "PG", "DATABASE_URL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **changed}


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


def kongtask(folder: Path, *arguments: str, stdin: str = "", **variables: str) -> Ran:
    """Run a command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "kongtask", *arguments],
        cwd=folder, env=environment(folder, **variables), input=stdin, capture_output=True,
        text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


class Program:
    """A running `kongtask` whose lines of both streams are kept."""

    def __init__(self, folder: Path, *arguments: str, prelude: str = "", **variables: str) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{prelude}\n{MAIN}", *arguments],
            cwd=folder, env=environment(folder, **variables), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for a line with this pattern."""
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while True:
                for line in self.lines:
                    if found := re.search(pattern, line):
                        return found
                if time.monotonic() > deadline or not self._reader.is_alive():
                    raise AssertionError(f"no line with {pattern!r} in:\n" + "\n".join(self.lines))
                self._news.wait(0.2)

    def signal(self, which: signal.Signals) -> None:
        self._process.send_signal(which)

    def exit_code(self, patience: float = PATIENCE) -> int:
        """Wait for its end."""
        code = self._process.wait(patience)
        self._reader.join(patience)
        return code

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.exit_code()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def running(
    folder: Path, *arguments: str, prelude: str = "", **variables: str
) -> Iterator[Program]:
    """Run a command while the block runs, after some Python that shortens its waiting."""
    program = Program(folder, *arguments, prelude=prelude, **variables)
    try:
        yield program
    finally:
        program.close()

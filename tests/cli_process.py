"""A real `kongtask` and the folder it runs in: started, read, ended.

Each command is a process of its own, forked from one that has imported the package already: that
takes a twentieth of the time of a new interpreter.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory

from kongtask.cli import main

LOST = 255
"""The exit code of a process whose real one was lost on its way."""

PATIENCE = 30.0
"""Seconds until a line, or an end, that does not come fails the test."""

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
    with TemporaryDirectory() as name:
        place = Path(name)
        (place / "in").write_text(stdin)
        process = _started(folder, arguments, place, variables)
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
        process.join()
        code = _code(process, place)
        assert code is not None
        out, err = ((place / each).read_text() for each in ("out", "err"))
        return Ran(code, out, err)


class Program:
    """A running `kongtask` whose lines of both streams are kept."""

    def __init__(
        self, folder: Path, place: Path, arguments: tuple[str, ...], prelude: str,
        variables: dict[str, str],
    ) -> None:  # fmt: skip
        (place / "in").touch()
        (place / "err").symlink_to(place / "out")
        self._said = place / "out"
        self._process = _started(folder, arguments, place, variables, prelude)

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self._said.read_text() if self._said.exists() else ""

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for a line with this pattern."""
        deadline = time.monotonic() + PATIENCE
        while True:
            has_ended = not self._process.is_alive()
            if found := re.search(pattern, self.text, re.MULTILINE):
                return found
            if has_ended or time.monotonic() > deadline:
                raise AssertionError(f"no line with {pattern!r} in:\n{self.text}")
            time.sleep(0.01)

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def signal(self, which: signal.Signals) -> None:
        """Send a signal to it."""
        assert self._process.pid is not None
        os.kill(self._process.pid, which)

    def exit_code(self, patience: float = PATIENCE) -> int:
        """Wait for its end."""
        self._process.join(patience)
        code = _code(self._process, self._said.parent)
        assert code is not None, f"it goes on after {patience} s:\n{self.text}"
        return code

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._process.close()


@contextmanager
def running(
    folder: Path, *arguments: str, prelude: str = "", **variables: str
) -> Iterator[Program]:
    """Run a command while the block runs, after some Python that shortens its waiting."""
    with TemporaryDirectory() as name:
        program = Program(folder, Path(name), arguments, prelude, variables)
        try:
            yield program
        finally:
            program.close()


def _started(
    folder: Path, arguments: tuple[str, ...], place: Path, variables: dict[str, str],
    prelude: str = "",
) -> ForkServerProcess:  # fmt: skip
    process = _PROCESSES.Process(
        target=_command,
        args=(str(folder), arguments, str(place), environment(folder, **variables), prelude),
    )
    process.start()
    return process


def _command(
    folder: str, arguments: tuple[str, ...], place: str, variables: dict[str, str], prelude: str
) -> None:
    """Become the command: its folder, environment, streams and arguments."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    for number, (name, flags) in enumerate(_STREAMS):
        os.dup2(os.open(f"{place}/{name}", flags), number)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    sys.argv = ["kongtask", *arguments]
    exec(prelude, {})
    try:
        main()
    except SystemExit as end:
        Path(place, "code").write_text(str(end.code or 0))
        raise
    finally:
        sys.stdout.flush()


def _code(process: ForkServerProcess, place: Path) -> int | None:
    """How a process ended; the server of processes loses what it is told now and then."""
    if process.exitcode == LOST and (place / "code").exists():
        return int((place / "code").read_text())
    return process.exitcode


_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_STREAMS = (("in", os.O_RDONLY), ("out", _APPEND), ("err", _APPEND))
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["kongtask.cli.worker", "cli_process", "pytest"])

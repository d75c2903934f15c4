"""Worker processes as users start them, what they log, and what their handlers note of each run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from postgres_server import free_port

ENDING = 30.0
HOUR = "3600000"
"""A poll interval, in milliseconds, that no test waits for."""

TASKS = """
import asyncio, os, time
from pathlib import Path

from kongtask import task

RUNS = os.open("runs", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def note(what, payload, helpers):
    line = f"{what} {payload['n']} {helpers.job.attempts} {os.getpid()} {time.monotonic():.6f}\\n"
    os.write(RUNS, line.encode())

@task
async def work(payload, helpers):
    note("start", payload, helpers)
    await asyncio.sleep(payload.get("seconds", 0.02))
    note("end", payload, helpers)

@task
async def hold(payload, helpers):
    note("start", payload, helpers)
    while not Path(f"go-{payload.get('gate', payload['n'])}").exists():
        await asyncio.sleep(0.01)
    note("end", payload, helpers)

@task
def sit(payload, helpers):
    note("start", payload, helpers)
    time.sleep(payload["seconds"])
    note("end", payload, helpers)
"""


@dataclass(frozen=True, slots=True)
class Note:
    """A line that a handler wrote: `at` is the machine's monotonic clock."""

    what: str
    number: int
    attempt: int
    pid: int
    at: float


class WorkerProcess:
    """A running `kongtask worker`."""

    def __init__(
        self, folder: Path, name: str, url: str, *flags: str, concurrency: int = 5
    ) -> None:
        self.name = name
        self.health_port = free_port(2)  # that of a second child follows
        self._log = folder / f"{name}.log"
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("KONGTASK_")},
            "KONGTASK_WORKER_NAME": name,
            "KONGTASK_LOG_FORMAT": "json",
            "DATABASE_URL": url,
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "kongtask", "worker", "--no-migrate",
                    "-t", str(folder / "tasks.py"), "-j", str(concurrency),
                    "--health-port", str(self.health_port), *flags,
                ],
                cwd=folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    @property
    def log(self) -> list[dict[str, str]]:
        """What it has logged, a dictionary a line; what is no JSON is told as an error.

        That a machine stood still for a second is left out: it says nothing of the fault.
        """
        lines = [_line(each) for each in whole_lines(self._log)]
        return [line for line in lines if "the event loop is blocked" not in line["message"]]

    def said(self, *levels: str) -> list[str]:
        """The messages of these levels."""
        return [line["message"] for line in self.log if line["level"] in levels]

    @property
    def is_working(self) -> bool:
        """Whether it began; fails when it has ended instead."""
        assert self.process.poll() is None, f"{self.name} has ended:\n{self._log.read_text()}"
        return any(each.startswith("working on ") for each in self.said("info"))

    def probe(self, path: str) -> tuple[int, str]:
        """What its health server answers."""
        connection = HTTPConnection("127.0.0.1", self.health_port, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def signal(self, which: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(which)

    def end(self) -> int:
        """Have it end well and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(ENDING)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


Start = Callable[..., WorkerProcess]
"""Takes a URL, flags and `concurrency`."""


class Runs:
    """What the handlers of all workers of one folder have noted."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "runs"

    @property
    def notes(self) -> list[Note]:
        """The lines, oldest first."""
        return [_note(line) for line in whole_lines(self._file)] if self._file.exists() else []

    def started_after(self, moment: float) -> set[int]:
        """The pids of workers that began a run after a moment of the monotonic clock."""
        return {each.pid for each in self.notes if each.what == "start" and each.at > moment}

    def of(self, number: int) -> list[str]:
        """What was noted of one job."""
        return [each.what for each in self.notes if each.number == number]

    def ended(self) -> set[int]:
        """The jobs that ran to their end."""
        return {each.number for each in self.notes if each.what == "end"}

    def repeated(self) -> set[int]:
        """The jobs that began more than once."""
        starts = Counter(each.number for each in self.notes if each.what == "start")
        return {number for number, count in starts.items() if count > 1}

    def overlaps(self, dead: dict[int, float] | None = None) -> list[int]:
        """The jobs that ran twice at the same time. `dead`: when processes were killed, by pid."""
        return [number for number, notes in self._by_job() if _overlap(notes, dead or {})]

    def _by_job(self) -> Iterator[tuple[int, list[Note]]]:
        found: dict[int, list[Note]] = defaultdict(list)
        for each in self.notes:
            found[each.number].append(each)
        yield from found.items()


def whole_lines(file: Path) -> list[str]:
    """The lines that are written to their end: somebody may be writing now."""
    return file.read_text().rpartition("\n")[0].splitlines()


def _overlap(notes: list[Note], dead: dict[int, float]) -> bool:
    running: set[int] = set()
    for each in notes:
        running = {pid for pid in running if dead.get(pid, each.at) >= each.at}
        if each.what == "end":
            running.discard(each.pid)
        elif running:
            return True
        else:
            running.add(each.pid)
    return False


def _note(line: str) -> Note:
    what, number, attempt, pid, at = line.split()
    return Note(what, int(number), int(attempt), int(pid), float(at))


def _line(text: str) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(text)
    except ValueError:
        return {"level": "error", "message": text}
    return found


def now() -> float:
    """The clock of the notes."""
    return time.monotonic()

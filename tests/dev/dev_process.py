"""A real `kongtask dev` and the folder it runs in: started, read line by line, ended."""

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
from pathlib import Path
from typing import Any

import yaml
from waiting import wait_until

PATIENCE = 60.0
"""Seconds until a line, or an end, that does not come fails the test."""

TASKS = """
import asyncio, os
from pathlib import Path

from kongtask import task

def note(text):
    with open("notes.txt", "a") as file:
        file.write(text + "\\n")

@task
async def write(payload, helpers):
    note(f"wrote {payload.get('n')}")

@task
async def hold(payload, helpers):
    helpers.logger.info("holding")
    while not Path("go").exists():
        await asyncio.sleep(0.02)
    note("let go")

@task
async def show(payload, helpers):
    note(f"{os.environ.get('COLOUR')} {os.environ.get('KEY')}")

@task
async def die(payload, helpers):
    print("the last words of the worker", flush=True)
    os._exit(7)
"""


def manifest(**spec: Any) -> dict[str, Any]:
    """A pool of the test's tasks that scales quickly; some fields of spec changed."""
    return {
        "apiVersion": "kongtask.dev/v1alpha1",
        "kind": "KongTaskPool",
        "metadata": {"name": "mail"},
        "spec": {
            "image": "shop/tasks:1",
            "database": {"secretRef": {"name": "database"}},
            "tasks": {"modules": ["tasks"]},
            "concurrency": 2,
            "scaling": {"maxReplicas": 3, "cooldownSeconds": 1, "pollPeriodSeconds": 1},
            "drain": {"timeoutSeconds": 30},
            **spec,
        },
    }


def write_manifest(folder: Path, **spec: Any) -> None:
    """Write the pool's manifest into the folder."""
    (folder / "pool.yaml").write_text(yaml.safe_dump(manifest(**spec)))


def notes(folder: Path) -> list[str]:
    """What the tasks have written so far."""
    file = folder / "notes.txt"
    return file.read_text().splitlines() if file.exists() else []


class DevProcess:
    """A running `kongtask dev` whose lines are kept."""

    def __init__(self, folder: Path, *arguments: str, environment: dict[str, str]) -> None:
        self.lines: list[str] = []
        self._read = 0
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kongtask", "dev", *arguments],
            cwd=folder, env={**os.environ, **environment}, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for the next line with this pattern, from the last one found on."""
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while True:
                while self._read < len(self.lines):
                    found = re.search(pattern, self.lines[self._read])
                    self._read += 1
                    if found:
                        return found
                left = deadline - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    raise AssertionError(f"no line with {pattern!r} in:\n" + "\n".join(self.lines))
                self._news.wait(min(left, 0.5))

    def signal(self, which: signal.Signals) -> None:
        """Send a signal to this process alone."""
        self._process.send_signal(which)

    def exit_code(self) -> int:
        """Wait for its end."""
        code = self._process.wait(PATIENCE)
        self._thread.join(PATIENCE)
        return code

    @property
    def text(self) -> str:
        """All lines so far."""
        return "\n".join(self.lines)

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self.exit_code()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def dev(folder: Path, *arguments: str, **environment: str) -> Iterator[DevProcess]:
    """Run `kongtask dev` with these arguments while the block runs."""
    process = DevProcess(folder, *arguments, environment=environment)
    try:
        yield process
    finally:
        process.close()


def wait_until_gone(pid: int) -> None:
    """Wait until no process has this id; one that nobody collected counts as gone."""
    wait_until(lambda: not is_there(pid), PATIENCE)


def is_there(pid: int) -> bool:
    """Whether a process with this id runs."""
    try:
        os.kill(pid, 0)
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return Path("/proc").exists() is False
    except ProcessLookupError:
        return False

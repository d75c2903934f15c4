"""Processes that stand for workers, watched by the real thing."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from dev_process import is_there, wait_until_gone

from kongtask.clock import Clock
from kongtask.dev.guarding import Guard
from kongtask.dev.telling import Say
from kongtask.dev.worker_process import Recipe, Surroundings, WorkerProcess

READY = """
import http.server, os, signal, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
    def log_message(self, *_): ...
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer(
    ("127.0.0.1", int(os.environ["KONGTASK_HEALTH_PORT"])), Ready).serve_forever()
"""

DEAF = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
time.sleep(600)
"""


class Said:
    """Keeps lines, and lets a test wait for one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        self._news.set()

    async def until(self, words: str) -> str:
        async with asyncio.timeout(30):
            while True:
                for line in self.lines:
                    if words in line:
                        return line
                self._news.clear()
                await self._news.wait()


class QuickClock(Clock):
    """A clock whose sleeps are short."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))


@pytest.fixture
async def guard() -> AsyncIterator[Guard]:
    guard = Guard()
    await guard.start()
    yield guard
    await guard.close()


def recipe(program: str, folder: Path, **changes: float) -> Recipe:
    """How to start a Python program as a worker."""
    plain = Recipe(
        command=(sys.executable, "-c", program), folder=folder, environment=os.environ,
        drain_timeout=30, grace=0,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def worker(plan: Recipe, guard: Guard, say: Say) -> WorkerProcess:
    around = Surroundings(guard=guard, clock=QuickClock(), changed=lambda: None)
    return WorkerProcess(plan, around, say, relay=say)


async def test_it_is_ready_when_readyz_answers_and_ends_when_told(
    tmp_path: Path, guard: Guard
) -> None:
    said = Said()
    one = worker(recipe(READY, tmp_path), guard, said)
    running = asyncio.create_task(one.run())
    await said.until("ready")
    assert one.ready
    one.stop()
    one.stop()
    await running
    assert not one.ready
    first, ready, stopping, ended = said.lines
    assert first.startswith("started (process ")
    assert ready == "ready"
    assert stopping == "stopping: its jobs have 30 s to finish"
    assert ended.startswith("ended (process ")


async def test_a_crash_is_told_with_the_last_words_and_mended(tmp_path: Path, guard: Guard) -> None:
    said = Said()
    one = worker(recipe("print('alas'); raise SystemExit(3)", tmp_path), guard, said)
    running = asyncio.create_task(one.run())
    await said.until("ended with exit code 3: alas (starting again in 1 s)")
    assert one.problem is not None
    assert (one.problem.reason, one.problem.message) == (
        "CrashLooping",
        "ended with exit code 3: alas",
    )
    await said.until("ended with exit code 3: alas (starting again in 2 s)")
    one.stop()
    await running


async def test_one_that_will_not_end_is_killed_with_what_it_started(
    tmp_path: Path, guard: Guard
) -> None:
    said = Said()
    one = worker(recipe(DEAF, tmp_path, drain_timeout=0.1, grace=0.1), guard, said)
    running = asyncio.create_task(one.run())
    child = int((await said.until("child")).split()[1])
    assert is_there(child)
    one.stop()
    await running
    await asyncio.to_thread(wait_until_gone, child)
    await said.until("killed: it did not end in time")


async def test_a_kill_does_not_wait(tmp_path: Path, guard: Guard) -> None:
    said = Said()
    one = worker(recipe(DEAF, tmp_path, drain_timeout=600), guard, said)
    running = asyncio.create_task(one.run())
    await said.until("child")
    one.stop()
    await said.until("stopping")
    one.kill()
    async with asyncio.timeout(30):
        await running


async def test_a_program_that_is_not_there_is_tried_again(tmp_path: Path, guard: Guard) -> None:
    said = Said()
    gone = replace(recipe("", tmp_path), command=(str(tmp_path / "none"),))
    one = worker(gone, guard, said)
    running = asyncio.create_task(one.run())
    await said.until("cannot be started: No such file or directory (starting again in 1 s)")
    one.stop()
    await running


async def test_long_lines_and_strange_bytes_are_shown(tmp_path: Path, guard: Guard) -> None:
    said = Said()
    program = (
        "import os, time; os.write(1, b'x' * 300000 + b'\\n\\xff strange\\nno end');time.sleep(600)"
    )
    one = worker(recipe(program, tmp_path), guard, said)
    running = asyncio.create_task(one.run())
    await said.until("� strange")
    one.stop()
    await running
    assert "no end" in said.lines

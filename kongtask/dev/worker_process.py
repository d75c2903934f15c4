"""One worker as a process of this machine: started, watched, started again after a crash, stopped.

It plays the part of a pod and its kubelet; whether it should be there is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kongtask.clock import Clock
from kongtask.core.process_end import how_it_ended
from kongtask.dev.guarding import Guard
from kongtask.dev.output import free_port, is_ready, lines
from kongtask.dev.telling import Say
from kongtask.operator.model import Problem

LONGEST_BACKOFF = 30.0
"""Seconds before a worker that crashed many times is started again, at most."""

STEADY = 60.0
"""Seconds that a worker must live for its earlier crashes to be forgotten."""

PROBE_PERIOD = 0.25
READY_PERIOD = 2.0
"""Seconds between two looks at /readyz, before and after it first was ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to start a worker, and how long it may take to stop. The environment may hold secrets."""

    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = field(repr=False)
    drain_timeout: float
    grace: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all workers share. `changed` is called when one is ready, not ready, or gone."""

    guard: Guard
    clock: Clock
    changed: Callable[[], None]


def backoff(crashes: int) -> float:
    """Return the seconds to wait after so many crashes in a row.

    >>> backoff(1), backoff(3), backoff(20)
    (1.0, 4.0, 30.0)
    """
    return min(LONGEST_BACKOFF, 2.0 ** min(crashes - 1, 10))


class WorkerProcess:
    """One worker under one name, however often its process is started again.

    `say` is for what becomes of it, `relay` for the lines it writes itself.
    """

    def __init__(self, recipe: Recipe, around: Surroundings, say: Say, *, relay: Say) -> None:
        self._recipe = recipe
        self._around = around
        self._say = say
        self._relay_line = relay
        self._stop = asyncio.Event()
        self._kill = asyncio.Event()
        self._last_line = ""
        self.ready = False
        self.problem: Problem | None = None

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Let it finish its jobs and end. Stopping twice is fine."""
        self._stop.set()

    def kill(self) -> None:
        """End it at once."""
        self._stop.set()
        self._kill.set()

    async def run(self) -> None:
        """Keep a process running until told to stop."""
        crashes = 0
        while not self.stopping:
            began = self._around.clock.monotonic()
            how = await self._once()
            self._turn(ready=False)
            if self.stopping:
                return
            lived = self._around.clock.monotonic() - began
            crashes = 1 if lived >= STEADY else crashes + 1
            await self._rest(how, backoff(crashes))

    async def _rest(self, how: str, delay: float) -> None:
        words = f"{how}: {self._last_line}" if self._last_line else how
        self.problem = Problem(reason="CrashLooping", message=words)
        self._say(f"{words} (starting again in {delay:g} s)")
        self._around.changed()
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._stop.wait()

    async def _once(self) -> str:
        port = free_port()
        environment = {**self._recipe.environment, "KONGTASK_HEALTH_PORT": str(port)}
        self._last_line = ""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._recipe.command, cwd=self._recipe.folder, env=environment,
                stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        self._around.guard.worker(process.pid, self._patience)
        self._say(f"started (process {process.pid})")
        helpers = [asyncio.create_task(each) for each in (self._relay(process), self._probe(port))]
        try:
            return how_it_ended(await self._until_ended(process))
        finally:
            await _finished(process, helpers)
            self._around.guard.left(process.pid)
            if self.stopping:
                self._say(f"ended (process {process.pid})")

    @property
    def _patience(self) -> float:
        return self._recipe.drain_timeout + self._recipe.grace

    async def _until_ended(self, process: Process) -> int:
        ended = asyncio.ensure_future(process.wait())
        await _first(ended, self._stop.wait())
        if not ended.done():
            self._turn(ready=False)
            self._say(f"stopping: its jobs have {self._recipe.drain_timeout:g} s to finish")
            _signal(process, signal.SIGTERM)
            await _first(ended, self._kill.wait(), patience=self._patience)
        if not ended.done():
            self._say("killed: it did not end in time, what it holds is given to others")
            _signal(process, signal.SIGKILL)
        return await ended

    async def _relay(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in lines(process.stdout):
            if line.strip():
                self._last_line = line.strip()
                self._relay_line(line)

    async def _probe(self, port: int) -> None:
        while not self.stopping:
            self._turn(ready=await is_ready(port))
            await self._around.clock.sleep(READY_PERIOD if self.ready else PROBE_PERIOD)

    def _turn(self, *, ready: bool) -> None:
        ready = ready and not self.stopping
        if ready == self.ready:
            return
        self.ready = ready
        if ready:
            self.problem = None
            self._say("ready")
        elif not self.stopping:
            self._say("not ready")
        self._around.changed()


async def _first(ended: asyncio.Future[int], other: object, patience: float | None = None) -> None:
    """Return when the process ended, or the other thing happened, or patience ran out."""
    waiting = asyncio.ensure_future(other)  # type: ignore[call-overload]
    try:
        await asyncio.wait({ended, waiting}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def _finished(process: Process, helpers: list[asyncio.Task[None]]) -> None:
    """See that nothing of the process is left, and that its last lines were told."""
    _signal(process, signal.SIGKILL)
    relay, probe = helpers
    probe.cancel()
    # What a task started may keep the pipe open for ever.
    await asyncio.wait({relay}, timeout=1)
    relay.cancel()
    await asyncio.gather(process.wait(), relay, probe, return_exceptions=True)


def _signal(process: Process, how: signal.Signals) -> None:
    """Send SIGTERM to the process, SIGKILL to all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        if how == signal.SIGKILL:
            os.killpg(process.pid, how)
        elif process.returncode is None:
            # asyncio's own way may collect the exit code ahead of who waits for it.
            with suppress(ProcessLookupError):
                os.kill(process.pid, how)

"""Schedulers of both sides on one schema, with one time for all that the test moves.

Those of Python live in this process: crowds whose processes are killed stand in `tests/faults`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
from cron_hands import HandClock, MovedStore
from graphile import SCHEMA
from hosting import Host

from kongtask.core.cron.crontab import parse_crontab
from kongtask.core.cron.item import ParsedCronItem
from kongtask.worker.cron import CronRunner

PROGRAM = "cron_host.mjs"


@dataclass
class PythonRunner:
    """One of this process's runners; its end is that of a program that is killed."""

    clock: HandClock
    task: asyncio.Task[None]

    async def die(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@dataclass
class NodeProcess:
    """A process with some of npm's runners."""

    host: Host
    runners: list[str] = field(default_factory=list)


class Crowd:
    """Runners that start, see time move, and die."""

    def __init__(
        self, pool: asyncpg.Pool[Any], url: str, node: str, crontab: str, now: datetime
    ) -> None:
        self.pool, self.url, self.node = pool, url, node
        self.crontab, self.now = crontab, now
        self.items: Sequence[ParsedCronItem] = parse_crontab(crontab)
        self.python: list[PythonRunner] = []
        self.processes: list[NodeProcess] = []
        self.complaints: list[dict[str, Any]] = []
        self._names = (f"n{number}" for number in itertools.count())

    async def start_python(self) -> PythonRunner:
        clock, store = HandClock(self.now), MovedStore(self.pool, SCHEMA)
        store.clock = clock
        runner = CronRunner(store, self.items, clock)
        started = PythonRunner(clock, asyncio.create_task(runner.run()))
        self.python.append(started)
        await clock.until_asleep()
        return started

    async def start_node(self, runners: int = 1) -> NodeProcess:
        process = NodeProcess(Host(self.node, program=PROGRAM))
        self.processes.append(process)
        await self._move_node(process)
        for _ in range(runners):
            await self.start_node_runner(process)
        return process

    async def start_node_runner(self, process: NodeProcess) -> str:
        name = next(self._names)
        await process.host.call("start", runner=name, url=self.url, crontab=self.crontab)
        process.runners.append(name)
        return name

    async def stop_node_runner(self, process: NodeProcess, name: str) -> None:
        process.runners.remove(name)
        await process.host.call("stop", runner=name)

    async def move(self, now: datetime) -> None:
        """Let everybody see the time, and the runners here act on it."""
        self.now = now
        moves = [runner.clock.move(now) for runner in self.python]
        moves += [self._move_node(process) for process in self.processes]
        await asyncio.gather(*moves)

    async def _move_node(self, process: NodeProcess) -> None:
        await process.host.call("move", to=round(self.now.timestamp() * 1000))

    async def jobs(self) -> int:
        return int(await self.pool.fetchval(f"select count(*) from {SCHEMA}._private_jobs"))

    async def leave(self) -> None:
        for runner in self.python:
            await runner.die()
        for process in self.processes:
            for name in list(process.runners):
                await self.stop_node_runner(process, name)
            process.host.end()
            self.complaints += process.host.heard("log")
        self.python, self.processes = [], []

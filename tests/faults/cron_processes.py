"""A crowd of processes that add recurring jobs, `kongtask worker` and npm's, and are killed.

All see one time, which the test moves. Who is killed is replaced.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import moved_cron
from cli_process import Program
from hosting import Host
from waiting import until

PROMPT = 0.02
"""Seconds after the hands moved within which runners act on it, and some are killed."""

WRONG = 600.0
"""Seconds that a machine's clock may be wrong."""

MEANT = "this worker does not know"
"""What workers say of the crontab's tasks. They run none: jobs stay where they can be counted."""

JOBS = "select count(*) from graphile_worker._private_jobs"


class Runner(Protocol):
    """A process with one scheduler."""

    @property
    def kind(self) -> str:
        """Python or Node."""

    @property
    def is_waiting(self) -> bool:
        """Whether it has begun, and would add the jobs of the next minute."""

    def see(self, now: datetime) -> None:
        """Tell it the time."""

    def kill(self) -> None:
        """Kill it."""

    async def leave(self) -> None:
        """Have it end well."""

    def ended(self) -> int:
        """Wait for its end; return the exit code."""

    def complaints(self) -> list[str]:
        """The warnings and errors that it logged."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all runners share."""

    folder: Path
    url: str
    node: str
    crontab: str

    @property
    def hands(self) -> Path:
        """The file with the time."""
        return self.folder / "hands"


class PythonRunner:
    """A `kongtask worker --crontab`."""

    kind = "Python"

    def __init__(self, setting: Setting, name: str, wrong: float) -> None:
        place = setting.folder / name
        place.mkdir()
        self._asleep = place / "asleep"
        joining = f"moved_cron.join({str(setting.hands)!r}, {str(self._asleep)!r}, {wrong})"
        words = (
            "worker", "--no-migrate", "--crontab", "crontab", "--poll-interval", "3600000",
            "--log-format", "json",
        )  # fmt: skip
        self._program = Program(
            setting.folder, place, words, f"import moved_cron; {joining}",
            {"DATABASE_URL": setting.url},
        )  # fmt: skip

    @property
    def is_waiting(self) -> bool:
        return self._asleep.exists()

    def see(self, now: datetime) -> None:
        """It looks at the file."""

    def kill(self) -> None:
        self._program.signal(signal.SIGKILL)

    async def leave(self) -> None:
        self._program.signal(signal.SIGTERM)

    def ended(self) -> int:
        code = self._program.exit_code()
        self._program.close()
        return code

    def complaints(self) -> list[str]:
        lines = [json.loads(line) for line in self._program.text.splitlines() if line[-1:] == "}"]
        return [
            line["message"] for line in lines
            if line["level"] in ("warning", "error") and MEANT not in line["message"]
        ]  # fmt: skip


class NodeRunner:
    """A process with one runner of npm's."""

    kind = "Node"

    def __init__(self, setting: Setting, now: datetime) -> None:
        self._host = Host(setting.node, program="cron_host.mjs")
        self.see(now)
        self._starting = asyncio.create_task(
            self._host.call("start", runner="it", url=setting.url, crontab=setting.crontab)
        )

    @property
    def is_waiting(self) -> bool:
        return self._starting.done() and self._starting.result() is None

    def see(self, now: datetime) -> None:
        self._host.tell("move", to=round(now.timestamp() * 1000))

    def kill(self) -> None:
        self._host.process.kill()

    async def leave(self) -> None:
        await self._starting
        await self._host.call("stop", runner="it")

    def ended(self) -> int:
        return self._host.end()

    def complaints(self) -> list[str]:
        return [str(line["message"]) for line in self._host.heard("log")]


@dataclass
class CronProcesses:
    """So many runners of each kind at a time, and what became of those that were killed."""

    setting: Setting
    pool: asyncpg.Pool[Any]
    chance: random.Random
    now: datetime
    size: dict[str, int]
    runners: list[Runner] = field(default_factory=list)
    started: Counter[str] = field(default_factory=Counter)
    killed: Counter[tuple[str, int]] = field(default_factory=Counter)
    killed_amid: int = 0
    """How many of them before all jobs of the moment were there."""
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.setting.folder / "crontab").write_text(self.setting.crontab)
        (self.setting.folder / "tasks.py").write_text(
            "from kongtask import task\n\n@task\ndef nothing(payload, helpers): ...\n"
        )
        self._numbers = itertools.count()
        moved_cron.write_hands(self.setting.hands, self.now)

    @property
    def waiting(self) -> list[Runner]:
        """Those that would add the jobs of the next minute."""
        return [each for each in self.runners if each.is_waiting]

    async def jobs(self) -> int:
        """How many jobs there are."""
        return int(await self.pool.fetchval(JOBS))

    def fill(self) -> None:
        """Start as many as are missing; they need not have begun when this returns."""
        there = Counter(each.kind for each in self.runners)
        for _ in range(self.size["Python"] - there["Python"]):
            wrong = self.chance.uniform(-WRONG, WRONG)
            self.runners.append(PythonRunner(self.setting, f"p{next(self._numbers)}", wrong))
            self.started["Python"] += 1
        for _ in range(self.size["Node"] - there["Node"]):
            self.runners.append(NodeRunner(self.setting, self.now))
            self.started["Node"] += 1

    async def move(self, now: datetime, victims: Sequence[Runner], expected: int) -> None:
        """Let everybody see the time, in any order, and kill some while they act on it.

        expected: how many jobs there have to be then.
        """
        self.now = now
        deaths = [
            asyncio.create_task(self._kill(each, self.chance.uniform(0, PROMPT), expected))
            for each in victims
        ]
        moves = [lambda: moved_cron.write_hands(self.setting.hands, now)]
        moves += [lambda each=each: each.see(now) for each in self.runners]  # type: ignore[misc]
        self.chance.shuffle(moves)
        for each in moves:
            each()
        await asyncio.gather(*deaths)

    async def _kill(self, runner: Runner, after: float, expected: int) -> None:
        await asyncio.sleep(after)
        runner.kill()
        self.killed_amid += await self.jobs() < expected
        self.killed[runner.kind, await asyncio.to_thread(runner.ended)] += 1
        self.runners.remove(runner)
        self.complaints += runner.complaints()

    async def leave(self) -> None:
        """Have all end well, once they have begun."""
        await until(lambda: len(self.waiting) == len(self.runners))
        for each in self.runners:
            await each.leave()
        while self.runners:
            last = self.runners.pop()
            assert await asyncio.to_thread(last.ended) == 0, last.complaints()
            self.complaints += last.complaints()

    def destroy(self) -> None:
        """Leave no process behind, whatever happened."""
        for each in self.runners:
            each.kill()

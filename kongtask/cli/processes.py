"""One command, several worker processes: started, kept alive, stopped together.

Python runs on one core; a machine has more. Each child is a whole worker with the flags of the
command, in a session of its own, so that a terminal's ctrl-C reaches the parent alone and counts
once. The parent works on no job, serves nothing and keeps no connection.

It refuses to judge jobs: what a dead child held is freed by the workers that live.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from kongtask.clock import Clock
from kongtask.core.process_end import how_it_ended
from kongtask.errors import ConfigurationError
from kongtask.logger import Logger, StandardLogger
from kongtask.settings import WorkerSettings
from kongtask.worker.signals import handled_signals

USERS_MISTAKE = 2
NOT_STARTED = 1
HIGHEST_PORT = 65_535
PR_SET_PDEATHSIG = 1

LONGEST_DELAY = 30.0
"""Seconds before a child that died many times in a row is started again, at most."""

STEADY = 60.0
"""Seconds that a child must live for its earlier deaths to be forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to start one child. The environment, like the command, may hold secrets."""

    number: int
    command: tuple[str, ...] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)


def recipe(
    number: int, settings: WorkerSettings, arguments: Sequence[str], environment: Mapping[str, str]
) -> Recipe:
    """Return how to start a child: the command again, and what differs. The last flag counts.

    >>> from kongtask.settings import DatabaseSettings
    >>> settings = WorkerSettings(
    ...     database=DatabaseSettings(url="postgres://db/shop"), name="mail", health_port=8080
    ... )
    >>> child = recipe(1, settings, ["worker", "--processes", "4"], {})
    >>> child.command[1:]  # doctest: +NORMALIZE_WHITESPACE
    ('-P', '-m', 'kongtask', 'worker', '--processes', '4',
     '--processes', '1', '--no-migrate', '--health-port', '8081')
    >>> child.environment
    {'KONGTASK_WORKER_NAME': 'mail-1'}
    """
    changed = ["--processes", "1", "--no-migrate"]
    if settings.health_port is not None:
        # Port 0 is any that is free, for each.
        port = settings.health_port and settings.health_port + number
        changed += ["--health-port", str(port)]
    named = {"KONGTASK_WORKER_NAME": f"{settings.name}-{number}"} if settings.name else {}
    return Recipe(
        number=number,
        # -P: the user's folder must not hide modules that the package itself needs.
        command=(sys.executable, "-P", "-m", "kongtask", *arguments, *changed),
        environment={**environment, **named},
    )


def delay(deaths: int) -> float:
    """Return the seconds to wait after so many deaths in a row.

    >>> delay(1), delay(2), delay(3), delay(100)
    (1.0, 2.0, 4.0, 30.0)
    """
    return min(LONGEST_DELAY, 2.0 ** min(deaths - 1, 10))


def worst(codes: Iterable[int]) -> int:
    """Return the exit code for children that ended with these; a signal's is 128 and its number.

    >>> worst([0, 1, 0]), worst([1, 143]), worst([143, 2, 0]), worst([0, -9]), worst([])
    (1, 143, 2, 137, 0)
    """
    plain = [128 - code if code < 0 else code for code in codes]
    return max(plain, key=lambda code: (code == USERS_MISTAKE, code), default=0)


async def run_processes(
    settings: WorkerSettings, arguments: Sequence[str], environment: Mapping[str, str]
) -> int:
    """Run as many children as the settings say until all have ended; return the exit code.

    arguments: the command line without the program.
    """
    count = settings.processes
    if (settings.health_port or 0) + count - 1 > HIGHEST_PORT:
        raise ConfigurationError(
            f"--health-port is {settings.health_port}: {count} processes serve on as many ports "
            f"from there on, choose one up to {HIGHEST_PORT - count + 1}"
        )
    recipes = [recipe(number, settings, arguments, environment) for number in range(count)]
    return await _Children(recipes, once=settings.once).run()


class _Children:
    """All children, and the word to stop that reaches each."""

    def __init__(self, recipes: Sequence[Recipe], *, once: bool) -> None:
        self._logger = StandardLogger()
        self._stop = asyncio.Event()
        self._children = [
            _Child(
                each, once=once, stop=self._stop, ended_by_mistake=self._give_up,
                logger=self._logger,
            )
            for each in recipes
        ]  # fmt: skip

    async def run(self) -> int:
        self._logger.info(f"{len(self._children)} processes")
        with handled_signals(self._drain, self._cut):
            return worst(await asyncio.gather(*(child.run() for child in self._children)))

    def _drain(self, name: str) -> None:
        self._logger.info(f"{name}: the processes drain")
        self._end()

    def _give_up(self) -> None:
        """The others were started with the same words."""
        if not self._stop.is_set():
            self._end()

    def _end(self) -> None:
        self._stop.set()
        for child in self._children:
            # Not SIGINT: a Python that still loads its modules answers that with a traceback.
            child.signal(signal.SIGTERM)

    def _cut(self, name: str) -> None:
        self._logger.info(f"{name} again: the processes cut their jobs off")
        for child in self._children:
            child.signal(signal.Signals[name])


class _Child:
    """One of the processes, however often it is started again."""

    def __init__(
        self, recipe: Recipe, *, once: bool, stop: asyncio.Event,
        ended_by_mistake: Callable[[], None], logger: Logger,
    ) -> None:  # fmt: skip
        self._recipe = recipe
        self._once = once
        self._stop = stop
        self._ended_by_mistake = ended_by_mistake
        self._logger = logger
        self._clock = Clock()
        self._process: Process | None = None

    async def run(self) -> int:
        """Keep the process running until told to stop; return how it ended."""
        deaths = starts = 0
        while True:
            began = self._clock.monotonic()
            code = await self._once_through()
            if self._stop.is_set():
                return 0 if code == -signal.SIGTERM else code  # it had not begun
            if code == 0 and self._once:
                return code
            starts += 1
            if code == USERS_MISTAKE and starts == 1:
                self._ended_by_mistake()
                return code
            deaths = 1 if self._clock.monotonic() - began >= STEADY else deaths + 1
            await self._rest(code, delay(deaths))
            if self._stop.is_set():
                return 0

    def signal(self, which: signal.Signals) -> None:
        """Send a signal, if the process is there."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                # Not `send_signal`, which may collect the exit code ahead of who waits for it.
                os.kill(self._process.pid, which)

    async def _once_through(self) -> int:
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *self._recipe.command, env=self._recipe.environment, stdin=DEVNULL,
                start_new_session=True, preexec_fn=_end_with(os.getpid()),
            )  # fmt: skip
        except OSError as error:
            self._logger.error(f"process {self._recipe.number} cannot be made: {error.strerror}")
            return NOT_STARTED
        self._logger.info(f"process {self._recipe.number} is {process.pid}")
        if self._stop.is_set():
            self.signal(signal.SIGTERM)
        return await process.wait()

    async def _rest(self, code: int, seconds: float) -> None:
        number = self._recipe.number
        self._logger.warn(
            f"process {number} {how_it_ended(code)}: it is started again in {seconds:g} s",
            {"process": number, "exit_code": code},
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()


def _end_with(parent: int) -> Callable[[], None] | None:
    """Return what has the kernel drain a child whose parent was killed; only Linux can."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)

    def ask() -> None:
        library.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was killed before we asked
            os._exit(128 + signal.SIGTERM)

    return ask

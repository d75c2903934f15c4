"""Notices when a handler keeps the event loop from turning, and says which one and where.

It watches from a thread: whoever blocks the loop blocks everything on it. It refuses to interfere.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from kongtask.logger import Logger

LIMIT = 1.0
"""Seconds without a turn of the loop that are worth a word."""

_PERIOD = 0.25

Name = Callable[[asyncio.Task[Any]], str | None]
"""Says which job an asyncio task runs, if any."""


@contextmanager
def watched_loop(logger: Logger, name: Name, *, limit: float = LIMIT) -> Iterator[None]:
    """Watch the running loop until the block ends."""
    watchdog = _Watchdog(asyncio.get_running_loop(), logger, name, limit)
    thread = threading.Thread(target=watchdog.run, name="kongtask-watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        watchdog.ended.set()


class _Watchdog:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, logger: Logger, name: Name, limit: float
    ) -> None:
        self.ended = threading.Event()
        self._loop = loop
        self._thread = threading.get_ident()
        self._logger = logger
        self._name = name
        self._limit = limit

    def run(self) -> None:
        """Ask the loop for a sign again and again."""
        while not self.ended.wait(_PERIOD):
            turned = threading.Event()
            try:
                self._loop.call_soon_threadsafe(turned.set)
            except RuntimeError:
                return  # the loop is closed
            if not turned.wait(self._limit) and not self.ended.is_set():
                self._tell()
                self._wait(turned)

    def _wait(self, turned: threading.Event) -> None:
        while not self.ended.is_set() and not turned.wait(_PERIOD):
            pass

    def _tell(self) -> None:
        task = asyncio.current_task(self._loop)
        who = (self._name(task) if task is not None else None) or "something outside any job"
        frame = sys._current_frames().get(self._thread)
        where = f" at {_place(frame)}" if frame is not None else ""
        self._logger.warn(
            f"the event loop is blocked for more than {self._limit:g} s by {who}{where}: other "
            "jobs wait. Write def instead of async def, or await what takes long",
        )


def _place(frame: FrameType) -> str:
    last = traceback.extract_stack(frame)[-1]
    return f"{last.filename}:{last.lineno} ({last.name})"

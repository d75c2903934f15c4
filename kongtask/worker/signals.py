"""Turns the signals that end a process into calls, for as long as a pool of workers runs.

The first asks for a drain, the second cuts it short. Every pool of a process hears them. What was
installed before is put back.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Ended(KeyboardInterrupt):
    """SIGTERM arrived while there was nothing to drain."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Raise `Ended` at SIGTERM, so that what was opened is closed; for a program's start."""

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def handled_signals(first: Callable[[str], None], second: Callable[[str], None]) -> Iterator[None]:
    """Call `first` with the signal's name, then `second` with that of any further signal.

    Outside the main thread nothing is installed: Python delivers no signals there.
    """
    loop = asyncio.get_running_loop()
    seen: list[str] = []

    def heard(name: str) -> None:
        seen.append(name)
        if len(seen) == 1:
            first(name)
        else:
            second(name)

    handlers = [_Handler(each, loop, heard) for each in SIGNALS]
    try:
        for each in handlers:
            each.install()
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for each in handlers:
            each.remove()


class _Handler:
    """One pool's ear for one signal; it passes the signal on to the pools that began earlier."""

    def __init__(
        self, which: signal.Signals, loop: asyncio.AbstractEventLoop, heard: Callable[[str], None]
    ) -> None:
        self._which = which
        self._loop = loop
        self._heard = heard
        self._before: Any = signal.SIG_DFL
        self._is_over = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self._is_over:
            # Python runs this between any two steps; the loop is told when it turns.
            self._loop.call_soon_threadsafe(self._heard, self._which.name)
        if isinstance(self._before, _Handler):
            self._before(number, frame)

    def install(self) -> None:
        self._before = signal.signal(self._which, self)

    def remove(self) -> None:
        self._is_over = True
        current: Any = signal.getsignal(self._which)
        if current is not self:
            return  # a pool that began later passes signals on through this one
        before = self._before
        while isinstance(before, _Handler) and before._is_over:
            before = before._before
        signal.signal(self._which, signal.SIG_DFL if before is None else before)

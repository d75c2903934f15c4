"""Turns the signals that end a process into calls, for as long as a pool of workers runs.

The first asks for a drain, the second cuts it short. What was installed before is put back.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def handled_signals(first: Callable[[str], None], second: Callable[[], None]) -> Iterator[None]:
    """Call `first` with the signal's name, then `second` for any further signal.

    Outside the main thread nothing is installed: Python delivers no signals there.
    """
    loop = asyncio.get_running_loop()
    before = {each: signal.getsignal(each) for each in SIGNALS}
    seen: list[signal.Signals] = []

    def heard(which: signal.Signals) -> None:
        seen.append(which)
        if len(seen) == 1:
            first(which.name)
        else:
            second()

    try:
        for each in SIGNALS:
            loop.add_signal_handler(each, heard, each)
    except (ValueError, RuntimeError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        for each in SIGNALS:
            loop.remove_signal_handler(each)
            with suppress(TypeError):
                signal.signal(each, before[each])

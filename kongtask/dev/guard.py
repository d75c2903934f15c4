"""Ends what `kongtask dev` started when it dies without a goodbye, for example by SIGKILL.

A program of its own that reads a pipe and imports nothing of KongTask, so that it is small. While
the pipe is open it does nothing; its end means that the other side is gone.

Lines it reads: `worker PID SECONDS` and `server PID SECONDS`, started, may take so long to end;
`left PID`, ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

STEP = 0.1
"""Seconds between two looks at whether a process has ended."""

Watched = dict[int, tuple[str, float]]


def watched(lines: Iterable[str]) -> Watched:
    """Return what is left to end after all lines, by process id.

    >>> watched(["server 7 5", "worker 8 30", "worker 9 30", "left 8"])
    {7: ('server', 5.0), 9: ('worker', 30.0)}
    """
    found: Watched = {}
    for line in lines:
        word, pid, *patience = line.split()
        if word == "left":
            found.pop(int(pid), None)
        else:
            found[int(pid)] = (word, float(patience[0]))
    return found


def end(processes: Watched) -> None:
    """End the workers, which may finish their jobs, and then the server they need."""
    _end_all(processes, "worker", signal.SIGTERM)
    _end_all(processes, "server", signal.SIGINT)


def _end_all(processes: Watched, kind: str, how: signal.Signals) -> None:
    ours = {pid: patience for pid, (each, patience) in processes.items() if each == kind}
    for pid in ours:
        _signal(pid, how)
    for _ in range(int(max(ours.values(), default=0) / STEP)):
        if not any(_is_alive(pid) for pid in ours):
            return
        threading.Event().wait(STEP)
    for pid in ours:
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, how: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        (os.killpg if how == signal.SIGKILL else os.kill)(pid, how)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # In a container nobody may collect the dead; where /proc exists it tells them apart.
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except ProcessLookupError:
        return False
    except OSError:
        return True


if __name__ == "__main__":
    end(watched(sys.stdin))

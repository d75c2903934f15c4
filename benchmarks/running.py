"""Starts a participant's runner, talks with it line by line, and sees what it uses."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

LAST_PATIENCE = 20.0
"""Seconds that a runner may take to end once it has been told to."""


class RunFailed(Exception):
    """A participant did not do what a workload asks; the message says what happened."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tree of processes has used. resident is the sum of its peaks, in MiB."""

    processor_seconds: float
    resident: float


class Runner:
    """One process of a participant, killed when the block is left before it has ended."""

    def __init__(
        self, words: list[str], variables: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                words, cwd=folder, env=dict(variables), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
            )  # fmt: skip
        self._heard: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(0.1 if kind else LAST_PATIENCE)
        except subprocess.TimeoutExpired:
            for process in self._tree():
                with suppress(psutil.Error):
                    process.kill()
            self._process.wait()

    def tell(self, word: str) -> float:
        """Say a word to the runner; return when."""
        assert self._process.stdin is not None
        at = time.monotonic()
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return at

    def expect(self, event: str, patience: float) -> dict[str, Any]:
        """Return what the runner says with this event; raises `RunFailed`."""
        deadline = time.monotonic() + patience
        while True:
            try:
                heard = self._heard.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise RunFailed(f"no {event!r} within {patience:.0f} s") from None
            if heard is None:
                raise RunFailed(f"it ended before {event!r}: {self._last_words()}")
            if heard["event"] == event:
                return heard

    def usage(self) -> Usage:
        """Return what the runner and its children have used so far."""
        seconds = resident = 0.0
        for process in self._tree():
            with suppress(psutil.Error, OSError, StopIteration):
                times = process.cpu_times()
                seconds += times.user + times.system
                resident += _peak(process.pid)
        return Usage(seconds, resident)

    def wait(self) -> None:
        """Wait until the process has ended; one that does not is killed at the block's end."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_PATIENCE)

    def end(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def _tree(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        return []

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with suppress(ValueError):
                heard = json.loads(line)
                if isinstance(heard, dict) and "event" in heard:
                    self._heard.put(heard)
        self._heard.put(None)

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"


def _peak(pid: int) -> float:
    """Return the most memory that a process has held, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

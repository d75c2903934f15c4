"""Talking to host.mjs: a Node process that runs pools of Graphile Worker on demand.

Starting Node costs half a second, so that one process serves a whole run of the tests.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import queue
import subprocess
import threading
from contextlib import suppress
from typing import Any

from graphile import FOLDER, LATEST, SCHEMA

PATIENCE = 30.0


class NodeError(Exception):
    """What a call in Node was rejected with."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer["error"])
        self.code = answer["code"]
        self.constraint = answer["constraint"]


class Host:
    """One Node process. `events` holds what its pools said, in order."""

    def __init__(self, node: str, *, name: str = "", program: str = "host.mjs") -> None:
        self.name = name
        self.events: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [node, program], cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env={**os.environ, "PROCESS_NAME": name},
        )  # fmt: skip
        self._ids = itertools.count()
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    async def call(self, call: str, **given: object) -> Any:
        """Have Node do something; raises `NodeError` when it refuses."""
        return await asyncio.to_thread(self.call_now, call, **given)

    def call_now(self, call: str, **given: object) -> Any:
        """The same from a thread of its own."""
        try:
            answer = self._send(call, given).get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"Node did not answer {call}: {self.events[-20:]}") from None
        if "error" in answer:
            raise NodeError(answer)
        return answer["result"]

    def tell(self, call: str, **given: object) -> None:
        """Have Node do something and wait for nothing; it may be dead."""
        with suppress(BrokenPipeError):
            self._send(call, given)

    def _send(self, call: str, given: dict[str, Any]) -> queue.SimpleQueue[dict[str, Any]]:
        number = next(self._ids)
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._answers[number] = answers
        assert self.process.stdin is not None
        self.process.stdin.write(
            json.dumps({"id": number, "call": call, "package": LATEST, "schema": SCHEMA, **given})
            .encode() + b"\n"
        )  # fmt: skip
        self.process.stdin.flush()
        return answers

    def heard(self, event: str, **facts: object) -> list[dict[str, Any]]:
        """Events of one name with these facts."""
        return [
            each for each in self.events if each["event"] == event and facts.items() <= each.items()
        ]

    def end(self) -> int:
        """Let the process end, if it still runs; return its exit code."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"Node did not end: {self.events[-20:]}") from None
        finally:
            self._reader.join(PATIENCE)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._hear(line)

    def _hear(self, line: bytes) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            said = {"event": "output", "text": line.decode(errors="replace").rstrip()}
        if "event" in said:
            self.events.append(said)
        else:
            self._answers.pop(said["id"]).put(said)

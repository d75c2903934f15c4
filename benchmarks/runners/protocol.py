"""What every participant in Python speaks: one order as an argument, lines of JSON as the answer.

It uses the standard library alone, for it runs in each participant's own environment, and it
counts, times and paces for all of them alike. What differs stands in the `run_*.py` beside it.

    work     ready ◄ go   started …  handled  ◄ stop   done
    others   ready ◄ go                                done
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

CHUNK = 10_000
"""Jobs that are added with one call, where many are added."""

SLEEP = 0.001
"""Seconds that a handler takes in the workload of handlers that wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to do.

    kind: which handler runs. jobs: how many are added or awaited. queues: named queues that they
    are spread over; 0 is none. future: further jobs that are due in a day. rate: how fast jobs are
    added one by one.
    """

    role: str
    dsn: str
    kind: str = "nothing"
    jobs: int = 0
    queues: int = 0
    future: int = 0
    rate: int = 0
    concurrency: int = 24
    settings: dict[str, Any] = field(default_factory=dict)


class Worker(Protocol):
    """What every participant can do."""

    def working(self, work: Work) -> AbstractAsyncContextManager[None]:
        """Run jobs inside the block."""


class Maker(Protocol):
    """A participant with tables of its own."""

    async def migrate(self) -> None:
        """Make the tables."""


class Adder(Protocol):
    """A participant that adds jobs."""

    async def open(self) -> None:
        """Connect for adding jobs."""

    async def close(self) -> None:
        """Disconnect."""

    async def add_many(self, payloads: list[dict[str, Any]], queues: list[str | None]) -> None:
        """Add jobs the fastest way there is, in one call."""

    async def add_one(self, payload: dict[str, Any]) -> None:
        """Add a job and return when it is committed."""


class Work:
    """What jobs do, and what is seen of it. Handlers of all participants await `handle`."""

    def __init__(self, order: Order) -> None:
        self.handle: Callable[[dict[str, Any], int], Coroutine[Any, Any, None]] = {
            "nothing": self._nothing,
            "sleep": self._sleep,
            "latency": self._latency,
            "ordered": self._ordered,
            "failing": self._failing,
        }[order.kind]
        self.concurrency = order.concurrency
        self._warm_up = order.rate
        self._left = order.jobs
        self.latencies: list[float] = []
        self._last: dict[int, int] = {}
        self._queues = max(1, order.queues)
        self.in_order = True

    async def _nothing(self, payload: dict[str, Any], attempt: int) -> None:
        self._count()

    async def _sleep(self, payload: dict[str, Any], attempt: int) -> None:
        await asyncio.sleep(SLEEP)
        self._count()

    async def _latency(self, payload: dict[str, Any], attempt: int) -> None:
        if payload["n"] >= self._warm_up:
            self.latencies.append((time.monotonic_ns() - payload["t"]) / 1e6)
        self._count()

    async def _ordered(self, payload: dict[str, Any], attempt: int) -> None:
        queue = payload["n"] % self._queues
        self.in_order &= payload["n"] > self._last.get(queue, -1)
        self._last[queue] = payload["n"]
        self._count()

    async def _failing(self, payload: dict[str, Any], attempt: int) -> None:
        self._count()
        if attempt == 1:
            raise RuntimeError("the first attempt fails")

    def _count(self) -> None:
        self._left -= 1
        if not self._left:
            say("handled")


def serve(make: Callable[[Order], Worker]) -> None:
    """Do what the argument orders."""
    order = Order(**json.loads(sys.argv[1]))
    with asyncio.Runner(loop_factory=_loop_factory(order)) as runner:
        runner.run(_ROLES[order.role](make(order), order))


def say(event: str, **facts: Any) -> None:
    """Tell the harness something."""
    print(json.dumps({"event": event, "at": time.monotonic(), **facts}), flush=True)


async def told(word: str) -> None:
    """Return when the harness has said this word."""
    line = await asyncio.to_thread(sys.stdin.readline)
    if line.strip() != word:
        sys.exit(f"expected {word!r}, got {line!r}")


def quantiles(values: list[float]) -> dict[str, float]:
    """Return what the table of latencies shows."""
    ordered = sorted(values) or [float("nan")]
    at = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
    return {name: ordered[min(len(ordered) - 1, int(len(ordered) * q))] for name, q in at.items()}


def _loop_factory(order: Order) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if not order.settings.get("uvloop"):
        return None
    import uvloop

    return uvloop.new_event_loop


async def _migrate(participant: Maker, order: Order) -> None:
    await participant.migrate()
    say("done")


async def _fill(participant: Adder, order: Order) -> None:
    await participant.open()
    await _add_all(participant, order)
    await participant.close()
    say("done")


async def _add_bulk(participant: Adder, order: Order) -> None:
    await participant.open()
    await _ready()
    begun = time.perf_counter()
    await _add_all(participant, order)
    say("done", per_second=order.jobs / (time.perf_counter() - begun))
    await participant.close()


async def _add_all(participant: Adder, order: Order) -> None:
    for start in range(0, order.jobs, CHUNK):
        numbers = range(start, min(order.jobs, start + CHUNK))
        names = [f"queue-{n % order.queues}" if order.queues else None for n in numbers]
        await participant.add_many([{"n": n} for n in numbers], names)


async def _add_single(participant: Adder, order: Order) -> None:
    await participant.open()
    for n in range(20):  # connections are open and statements are prepared afterwards
        await participant.add_one({"n": n})
    await _ready()
    took = []
    for n in range(order.jobs):
        begun = time.perf_counter()
        await participant.add_one({"n": n})
        took.append((time.perf_counter() - begun) * 1e3)
    say("done", per_second=len(took) / (sum(took) / 1e3), **quantiles(took))
    await participant.close()


async def _produce(participant: Adder, order: Order) -> None:
    """Add jobs at a steady rate, whether or not those before are in: nothing waits for the slow."""
    await participant.open()
    await _ready()
    took: list[float] = []

    async def add(n: int) -> None:
        begun = time.monotonic_ns()
        await participant.add_one({"n": n, "t": begun})
        took.append((time.monotonic_ns() - begun) / 1e6)

    begun = time.monotonic()
    adding = []
    for n in range(order.jobs):
        await asyncio.sleep(max(0.0, begun + n / order.rate - time.monotonic()))
        adding.append(asyncio.create_task(add(n)))
    await asyncio.gather(*adding)
    say("done", rate=order.jobs / (time.monotonic() - begun), **quantiles(took))
    await participant.close()


async def _work(participant: Worker, order: Order) -> None:
    work = Work(order)
    await _ready()
    async with participant.working(work):
        say("started")
        await told("stop")
        found = quantiles(work.latencies) if work.latencies else {}
        say("done", in_order=work.in_order, started=len(work.latencies), **found)


async def _ready() -> None:
    say("ready")
    await told("go")


_ROLES: dict[str, Callable[[Any, Order], Coroutine[Any, Any, None]]] = {
    "migrate": _migrate,
    "fill": _fill,
    "add_bulk": _add_bulk,
    "add_single": _add_single,
    "produce": _produce,
    "work": _work,
}

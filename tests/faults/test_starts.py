"""A worker starts while nobody answers: it waits, says so, and begins when somebody does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest
from durable_server import DATABASE, DurableServer
from fault_words import RETURN, add, end_well, listening
from waiting import until
from worker_processes import HOUR, Runs, Start, WorkerProcess, now


def asked(worker: WorkerProcess, path: str) -> tuple[int, str]:
    """What a probe hears, nothing while the probes' server is replaced, once during a start."""
    assert worker.process.poll() is None, worker.said("error")
    try:
        return worker.probe(path)
    except OSError:
        return 0, ""


def answers(worker: WorkerProcess, path: str) -> bool:
    """Whether a probe finds all well."""
    return asked(worker, path)[0] == 200


async def waits(worker: WorkerProcess, why: str = "") -> None:
    """Return when it says why it is not ready: not before it has tried what does not work."""

    def says_so() -> bool:
        status, reason = asked(worker, "/readyz")
        assert status in (0, 503), reason
        return status == 503 and why in reason

    await until(lambda: answers(worker, "/livez"))
    await until(says_so)
    await until(lambda: answers(worker, "/metrics"))


@pytest.mark.parametrize("flags", [(), ("--processes", "2")])
async def test_a_worker_that_starts_during_an_outage_waits_for_its_end(
    new_server: Callable[[], DurableServer], start: Start, runs: Runs, flags: tuple[str, ...]
) -> None:
    server = new_server()
    url = server.url(DATABASE)
    worker = start(url, "--poll-interval", HOUR, "--start-timeout", "60", *flags)
    await waits(worker, "cannot reach PostgreSQL")
    await until(lambda: len(worker.said("warning")) == (2 if flags else 1))  # one of each process

    await asyncio.to_thread(server.start)
    back = now()
    await add(url, range(20))
    await until(lambda: runs.ended() == set(range(20)), RETURN)
    await listening(url, 1, back)
    await until(lambda: answers(worker, "/readyz"))
    begins = worker.said("warning", "error")
    assert len(begins) == (2 if flags else 1), begins
    for each in begins:
        assert each.startswith("no answer from PostgreSQL, trying for 60 s: kongtask@127.0.0.1:")
    assert any("PostgreSQL answers after" in line for line in worker.said("info"))
    await end_well(url, [worker])


async def test_a_worker_that_meets_a_server_without_writes_waits_for_them(
    new_server: Callable[[], DurableServer], start: Start, runs: Runs
) -> None:
    server = new_server()
    await asyncio.to_thread(lambda: server.start(default_transaction_read_only="on"))
    url = server.url(DATABASE)
    worker = start(url, "--poll-interval", HOUR)
    await waits(worker, "the server takes no writes")
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    await add(url, [1])
    await until(lambda: runs.ended() == {1}, RETURN)
    await end_well(url, [worker])


async def test_waiting_ends_by_itself_and_by_a_signal(
    new_server: Callable[[], DurableServer], start: Start
) -> None:
    url = new_server().url(DATABASE)
    patient, hasty = start(url, "--start-timeout", "600"), start(url, "--start-timeout", "1")
    await waits(patient)
    patient.signal(signal.SIGTERM)
    assert await asyncio.to_thread(patient.process.wait, 30) == 0
    assert await asyncio.to_thread(hasty.process.wait, 30) == 2
    [sentence] = hasty.said("error")
    assert sentence.startswith("kongtask: ")
    assert "check that the server runs and that host and port are right" in sentence

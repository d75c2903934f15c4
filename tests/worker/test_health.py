"""Probes and metrics, asked over HTTP as Kubernetes and Prometheus do."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.client import HTTPConnection
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until
from worker_words import JOBS, Heard, add, is_empty, options

from kongtask import ConfigurationError, Helpers, WorkerPool
from kongtask.clock import Clock
from kongtask.worker.health import STANDSTILL, health_server
from kongtask.worker.metrics import worker_metrics

Pool: TypeAlias = "asyncpg.Pool[Any]"


class LateClock(Clock):
    """A clock that the test puts forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class Probes:
    """Asks the server of one pool of workers."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def get(self, path: str) -> tuple[int, str]:
        return await asyncio.to_thread(self._get, path)

    def _get(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@contextmanager
def served(workers: WorkerPool, heard: Heard, clock: Clock | None = None) -> Iterator[Probes]:
    registry = worker_metrics(heard.bus, workers, 2)
    with health_server(workers, registry, 0, clock or Clock()) as port:
        yield Probes(port)


async def hold(payload: object, helpers: Helpers) -> None:
    if payload == "fail":
        raise ValueError("no")
    if isinstance(payload, str):
        await helpers.pool.fetchval(payload)


async def test_probes_follow_the_life_of_a_pool(pool: Pool, database_url: str) -> None:
    heard = Heard()
    quick = options(
        events=heard.bus, concurrency=2, poll_interval=timedelta(milliseconds=20)
    )  # fmt: skip
    own = await asyncpg.create_pool(database_url, min_size=1, max_size=6)
    workers = WorkerPool({"hold": hold}, own, quick, owns_pool=True)
    lock = await asyncpg.connect(database_url)
    await lock.execute("select pg_advisory_lock(7)")
    with served(workers, heard) as probes:
        assert await probes.get("/livez") == (200, "ok\n")
        assert await probes.get("/readyz") == (503, "the database has not answered yet\n")

        await workers.start()
        await until(lambda: workers.is_ready)
        assert await probes.get("/readyz") == (200, "ok\n")

        name = database_url.rpartition("/")[2]
        maintenance = await asyncpg.connect(database_url.replace(name, "postgres"))
        await maintenance.execute(f"alter database {name} with allow_connections false")
        await maintenance.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = $1 and pid <> $2", name, lock.get_server_pid(),
        )  # fmt: skip
        await until(lambda: not workers.is_ready)
        status, reason = await probes.get("/readyz")
        assert status == 503
        assert reason.startswith("the database does not answer: ")
        assert await probes.get("/livez") == (200, "ok\n")
        await maintenance.execute(f"alter database {name} with allow_connections true")
        await maintenance.close()
        await until(lambda: workers.is_ready)

        await workers.add_job("hold", "select pg_advisory_lock(7)")
        await until(lambda: workers.running)
        workers.stop("test")
        assert await probes.get("/readyz") == (503, "draining\n")
        assert await probes.get("/livez") == (200, "ok\n")
        await lock.execute("select pg_advisory_unlock(7)")
        await lock.close()
        await workers.wait()
        assert await probes.get("/livez") == (503, "the pool of workers has ended\n")


async def test_an_event_loop_that_stands_still_for_minutes_is_told(pool: Pool) -> None:
    clock, heard = LateClock(), Heard()
    workers = WorkerPool({"hold": hold}, pool, options())
    await workers.start()
    with served(workers, heard, clock) as probes:
        clock.ahead = STANDSTILL - 30
        assert (await probes.get("/livez"))[0] == 200
        clock.ahead = STANDSTILL + 1
        status, text = await probes.get("/livez")
        assert status == 503
        assert text.startswith("the event loop has not turned for 30")
    await workers.release()


async def test_metrics_count_runs_by_task_and_outcome(pool: Pool) -> None:
    heard = Heard()
    workers = WorkerPool({"hold": hold}, pool, options(events=heard.bus, concurrency=2))
    with served(workers, heard) as probes:
        await add(pool, "hold", [1, 2, "fail"])
        await pool.execute(f"update {JOBS} set max_attempts = 1 where payload::text like '%fail%'")
        await workers.start()
        await until(lambda: len(heard.data("job:complete")) == 3)
        status, text = await probes.get("/metrics")
        assert status == 200
        for line in (
            'kongtask_jobs_total{outcome="success",task="hold"} 2.0',
            'kongtask_jobs_total{outcome="failed",task="hold"} 1.0',
            'kongtask_job_duration_seconds_count{task="hold"} 3.0',
            "kongtask_jobs_running 0.0",
            "kongtask_jobs_waiting 0.0",
            "kongtask_concurrency 2.0",
            "kongtask_fetch_errors_total 0.0",
        ):
            assert line in text.splitlines()
    await workers.release()


async def test_other_paths_name_those_there_are(pool: Pool) -> None:
    workers = WorkerPool({"hold": hold}, pool, options())
    with served(workers, Heard()) as probes:
        assert await probes.get("/") == (404, "try /livez, /readyz or /metrics\n")


async def test_a_prober_that_hangs_up_is_not_worth_a_word(
    pool: Pool, capfd: pytest.CaptureFixture[str]
) -> None:
    workers = WorkerPool({"hold": hold}, pool, options())
    with served(workers, Heard()) as probes:
        for _ in range(5):
            peer = socket.create_connection(("127.0.0.1", probes.port))
            peer.sendall(b"GET /metrics HT")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
        assert (await probes.get("/livez"))[0] == 200
    assert capfd.readouterr().err == ""


async def test_a_port_in_use_is_named(pool: Pool) -> None:
    workers = WorkerPool({"hold": hold}, pool, options())
    with served(workers, Heard()) as probes:
        registry = worker_metrics(Heard().bus, workers, 1)
        with (
            pytest.raises(
                ConfigurationError, match=rf"^health port {probes.port} cannot be opened"
            ),
            health_server(workers, registry, probes.port, Clock()),
        ):
            raise AssertionError("it was opened")


async def test_a_busy_event_loop_still_answers(pool: Pool) -> None:
    """The server has a thread of its own, so that a handler that blocks does not kill the pod."""
    workers = WorkerPool({"hold": hold}, pool, options())
    with served(workers, Heard()) as probes:
        assert probes._get("/livez") == (200, "ok\n")  # asked from the loop's own thread
    assert await is_empty(pool)

"""What handlers and administrators can decide about a run: later, never, in part, no longer."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import psutil
import pytest
from waiting import until

import kongtask
from kongtask import (
    FailJob,
    Job,
    RetryJob,
    SnoozeJob,
    TaskSpec,
    WorkerPoolOptions,
    WorkerUtils,
    task,
)
from kongtask.errors import ConfigurationError

JOBS = "graphile_worker._private_jobs"
PATIENCE = 20


@pytest.fixture
def utils(pool: asyncpg.Pool[Any]) -> WorkerUtils:
    return WorkerUtils(pool)


async def once(pool: asyncpg.Pool[Any], handlers: dict[str, Any], **options: Any) -> None:
    await kongtask.run_task_list_once(handlers, pool, WorkerPoolOptions(**options))


async def row(pool: asyncpg.Pool[Any], job: Job) -> Any:
    return await pool.fetchrow(
        f"select *, run_at - now() as waits, payload::text as text from {JOBS} where id = $1",
        job.id,
    )


@asynccontextmanager
async def running(
    pool: asyncpg.Pool[Any], handlers: dict[str, Any], **options: Any
) -> AsyncIterator[tuple[kongtask.WorkerPool, asyncio.Queue[Any]]]:
    """A pool of workers, and the data of each `job:complete`."""
    ended: asyncio.Queue[Any] = asyncio.Queue()
    events = kongtask.EventBus()
    events.on("job:complete", ended.put_nowait)
    given = WorkerPoolOptions(events=events, no_handle_signals=True, concurrency=4, **options)
    workers = await kongtask.run_task_list(handlers, pool, given)
    async with workers:
        yield workers, ended


async def test_a_snoozed_job_waits_with_its_attempt(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    async def later(payload: Any, helpers: Any) -> None:
        raise SnoozeJob(timedelta(hours=1))

    job = await utils.add_job("later", {}, TaskSpec(queue_name="q", max_attempts=1))
    await once(pool, {"later": later})

    found = await row(pool, job)
    assert (found["attempts"], found["last_error"], found["locked_at"]) == (0, None, None)
    assert timedelta(minutes=59) < found["waits"] <= timedelta(hours=1)
    assert not await pool.fetchval(
        "select count(*) from graphile_worker._private_job_queues where locked_at is not null"
    )


@pytest.mark.parametrize(
    "when",
    [timedelta(hours=2), datetime.now(UTC) + timedelta(hours=2)],
    ids=["after a while", "at a moment"],
)
async def test_a_retry_at_a_chosen_time_counts_the_attempt(
    pool: asyncpg.Pool[Any], utils: WorkerUtils, when: timedelta | datetime
) -> None:
    async def closed(payload: Any, helpers: Any) -> None:
        raise RetryJob(when, "the bank is closed")

    job = await utils.add_job("closed", {}, TaskSpec(max_attempts=2))
    await once(pool, {"closed": closed})

    found = await row(pool, job)
    assert (found["attempts"], found["last_error"]) == (1, "the bank is closed")
    # The moment was named when the tests were collected.
    assert timedelta(minutes=60) < found["waits"] <= timedelta(hours=2)


async def test_the_last_attempt_cannot_be_put_off(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    async def closed(payload: Any, helpers: Any) -> None:
        raise RetryJob(timedelta(0))

    job = await utils.add_job("closed", {}, TaskSpec(max_attempts=1))
    await once(pool, {"closed": closed})

    assert (await row(pool, job))["is_available"] is False


async def test_a_job_can_be_failed_for_good_at_its_first_attempt(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    async def hopeless(payload: Any, helpers: Any) -> None:
        raise FailJob("no such customer")

    job = await utils.add_job("hopeless")
    await once(pool, {"hopeless": hopeless})

    found = await row(pool, job)
    assert (found["attempts"], found["last_error"]) == (found["max_attempts"], "no such customer")
    assert found["is_available"] is False


@pytest.mark.parametrize("when", [timedelta(-1), datetime(2026, 1, 1), 5], ids=str)
def test_times_that_are_none_are_refused_where_they_are_written(when: Any) -> None:
    with pytest.raises(ValueError, match="must be a timedelta of 0 or more or an aware datetime"):
        SnoozeJob(when)


async def test_only_the_failed_elements_of_a_batch_are_kept(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    async def send(payload: Any, helpers: Any) -> list[Any]:
        async def one(number: int) -> None:
            if number % 2:
                raise ValueError(f"{number} is odd")

        return [one(each) for each in payload]

    job = await utils.add_job("send", [1, 2, 3, 4])
    await once(pool, {"send": send})

    found = await row(pool, job)
    assert json.loads(found["text"]) == [1, 3]
    assert found["last_error"] == "2 of 4 elements failed:\n- 1 is odd\n- 3 is odd"
    assert found["attempts"] == 1


@pytest.mark.parametrize(
    "results",
    [None, [], ["x"], ["a", "b"], "ab"],
    ids=["nothing", "an empty list", "a list too short", "no errors", "text"],
)
async def test_a_batch_without_failed_elements_is_done(
    pool: asyncpg.Pool[Any], utils: WorkerUtils, results: Any
) -> None:
    async def send(payload: Any, helpers: Any) -> Any:
        return results

    await utils.add_job("send", [1, 2])
    await once(pool, {"send": send})

    assert await pool.fetchval(f"select count(*) from {JOBS}") == 0


async def test_a_plain_function_fails_elements_by_returning_exceptions(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    def send(payload: Any, helpers: Any) -> list[Any]:
        return [None, KeyError("b")]

    job = await utils.add_job("send", ["a", "b"], TaskSpec(max_attempts=1))
    await once(pool, {"send": send})

    found = await row(pool, job)
    assert (found["text"], found["is_available"]) == ('["b"]', False)


def waits_for_ever() -> Any:
    @task(timeout=timedelta(milliseconds=50))
    async def endless(payload: Any, helpers: Any) -> None:
        await asyncio.Event().wait()

    return endless


async def test_a_run_that_takes_too_long_fails(pool: asyncpg.Pool[Any], utils: WorkerUtils) -> None:
    job = await utils.add_job("endless")
    await once(pool, {"endless": waits_for_ever()})

    found = await row(pool, job)
    assert (found["attempts"], found["locked_at"]) == (1, None)
    assert found["last_error"] == "took longer than 0:00:00.050000"


async def test_the_time_limit_of_the_pool_holds_for_tasks_without_one(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    async def endless(payload: Any, helpers: Any) -> None:
        await asyncio.Event().wait()

    job = await utils.add_job("endless")
    await once(pool, {"endless": endless}, job_timeout=timedelta(milliseconds=30))

    assert (await row(pool, job))["last_error"] == "took longer than 0:00:00.030000"


async def test_a_thread_is_told_of_its_time_limit_and_keeps_its_job_until_it_ends(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    locked: list[bool] = []

    @task(timeout=timedelta(milliseconds=50))
    def busy(payload: Any, helpers: Any) -> None:
        pause = threading.Event()
        while not helpers.is_cancelled:
            pause.wait(0.01)
        locked.append(True)

    job = await utils.add_job("busy")
    await once(pool, {"busy": busy})

    assert locked == [True]
    assert (await row(pool, job))["last_error"] == "took longer than 0:00:00.050000"


@task(process=True)
def in_a_process(payload: Any, helpers: Any) -> None:
    if payload == "fail":
        raise ValueError(f"job {helpers.job.id} in a process")
    if payload == "die":
        import os

        os._exit(9)


@task(process=True, timeout=timedelta(milliseconds=100))
def spinning(payload: Any, helpers: Any) -> None:
    while True:
        pass


async def test_work_in_processes_succeeds_fails_and_survives_their_death(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    for payload in ("work", "fail", "die", "work"):
        await utils.add_job("in_a_process", payload)
    await once(pool, {"in_a_process": in_a_process}, concurrency=2)

    left = await pool.fetch(f"select id, last_error from {JOBS} order by id")
    assert [each["id"] for each in left] == [2, 3]
    assert left[0]["last_error"] == "job 2 in a process"
    assert left[1]["last_error"]


async def test_a_process_that_takes_too_long_is_ended(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    job = await utils.add_job("spinning")
    await once(pool, {"spinning": spinning})

    assert (await row(pool, job))["last_error"] == "took longer than 0:00:00.100000"
    await until(lambda: not any(map(_is_spawned, psutil.Process().children(True))))


def _is_spawned(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return "spawn_main" in process.cmdline()
    return False


def test_a_coroutine_function_cannot_run_in_a_process() -> None:
    with pytest.raises(ConfigurationError, match="write def, not async def"):

        @task(process=True)
        async def wrong(payload: Any, helpers: Any) -> None: ...


async def test_a_running_job_is_cancelled_from_outside(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    begun: asyncio.Queue[int] = asyncio.Queue()

    async def endless(payload: Any, helpers: Any) -> None:
        begun.put_nowait(helpers.job.id)
        await asyncio.Event().wait()

    async with running(pool, {"endless": endless}) as (_, ended):
        cancelled, kept = await utils.add_job("endless"), await utils.add_job("endless")
        for _ in range(2):
            await asyncio.wait_for(begun.get(), PATIENCE)
        [told] = await utils.cancel_jobs([cancelled.id])
        done = await asyncio.wait_for(ended.get(), PATIENCE)
        assert (told.id, done.job.id, done.outcome.kind) == (cancelled.id, cancelled.id, "failed")
        found, other = await row(pool, cancelled), await row(pool, kept)
        assert (found["is_available"], found["locked_at"]) == (False, None)
        assert found["last_error"] == "cancelled while it ran"
        assert other["locked_at"] is not None
        await utils.cancel_jobs([kept.id])


async def test_a_waiting_job_that_is_cancelled_never_runs(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    async def never(payload: Any, helpers: Any) -> None:
        raise AssertionError("it was cancelled")

    job = await utils.add_job("never")
    [told] = await utils.cancel_jobs([job.id, 999_999], "not wanted any more")
    await once(pool, {"never": never})

    found = await row(pool, job)
    assert (told.id, found["last_error"]) == (job.id, "not wanted any more")
    assert found["is_available"] is False


async def test_a_thread_that_sees_its_cancellation_ends_its_job(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    begun = threading.Event()

    def busy(payload: Any, helpers: Any) -> None:
        begun.set()
        pause = threading.Event()
        while not helpers.is_cancelled:
            pause.wait(0.01)

    async with running(pool, {"busy": busy}) as (_, ended):
        job = await utils.add_job("busy")
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        await utils.cancel_jobs([job.id])
        done = await asyncio.wait_for(ended.get(), PATIENCE)
    assert (done.outcome.kind, done.outcome.message) == ("failed", "cancelled while it ran")


async def test_without_listening_jobs_start_at_the_next_poll(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    async def quick(payload: Any, helpers: Any) -> None: ...

    polling = {"listen": False, "poll_interval": timedelta(milliseconds=50)}
    async with running(pool, {"quick": quick}, **polling) as (_, ended):
        await utils.add_job("quick")
        assert (await asyncio.wait_for(ended.get(), PATIENCE)).outcome.kind == "success"


class Words:
    """A logger that hands on what it is told."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def warn(self, message: str, meta: Any = None) -> None:
        self._loop.call_soon_threadsafe(self.said.put_nowait, message)

    debug = info = error = lambda self, message, meta=None: None

    async def hear(self, wanted: Callable[[str], bool]) -> str:
        async with asyncio.timeout(PATIENCE):
            while not wanted(message := await self.said.get()):
                pass
        return message


async def test_a_handler_that_blocks_the_event_loop_is_named(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    async def rude(payload: Any, helpers: Any) -> None:
        end = time.monotonic() + 1.6
        while time.monotonic() < end:
            pass

    words = Words()
    async with running(pool, {"rude": rude}, logger=words):
        job = await utils.add_job("rude")
        said = await words.hear(lambda message: "by rude" in message)
    assert f"by rude (job {job.id}) at {__file__}" in said


async def test_jobs_of_unknown_tasks_wait_and_are_told_of_once(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    async def known(payload: Any, helpers: Any) -> None: ...

    job = await utils.add_job("unknown")
    words = Words()
    async with running(pool, {"known": known}, logger=words):
        said = await words.hear(lambda message: "'unknown'" in message)
        await utils.add_job("unknown")
    assert "this worker does not know it" in said
    assert (await row(pool, job))["attempts"] == 0
    more = [words.said.get_nowait() for _ in range(words.said.qsize())]
    assert not [message for message in more if "'unknown'" in message]


async def test_a_transaction_lent_to_a_handler_adds_jobs_with_its_data(
    pool: asyncpg.Pool[Any], utils: WorkerUtils
) -> None:
    async def both(payload: Any, helpers: Any) -> None:
        async with helpers.transaction() as connection:
            await helpers.add_job("next", {}, connection=connection)
            if payload == "undo":
                raise ValueError("nothing of this")

    await utils.add_job("both", "keep")
    await utils.add_job("both", "undo")
    await once(pool, {"both": both})

    assert (
        await pool.fetchval(
            "select count(*) from graphile_worker.jobs where task_identifier = 'next'"
        )
        == 1
    )

"""Jobs fail: their text is kept, their back-off is Graphile Worker's, and the pool runs on."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest
from waiting import until
from worker_words import (
    JOBS,
    Heard,
    Lines,
    add,
    assert_nothing_left,
    is_empty,
    locked,
    options,
    rows,
)

from kongtask import Helpers, TaskSpec, WorkerUtils, run_task_list, run_task_list_once
from kongtask.core.attempt import ERROR_LIMIT
from kongtask.worker import recorder

Pool: TypeAlias = "asyncpg.Pool[Any]"


class Unheard(BaseException):
    """Like what other event loops raise to cancel."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


async def wait_too_long(_: object) -> None:
    async with asyncio.timeout(0.001):
        await asyncio.Event().wait()


async def cancel_a_part(_: object) -> None:
    part = asyncio.ensure_future(asyncio.Event().wait())
    asyncio.get_running_loop().call_soon(part.cancel)
    await part


async def cancel_itself(_: object) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def fail_in_a_group(_: object) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(wait_too_long(None))


def raising(error: BaseException) -> Any:
    async def raise_it(_: object) -> None:
        raise error

    return raise_it


WAYS: dict[str, tuple[Any, str]] = {
    "an exception": (raising(ValueError("no such address")), "no such address"),
    "SystemExit": (raising(SystemExit(3)), "3"),
    "KeyboardInterrupt": (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
    "CancelledError": (raising(asyncio.CancelledError()), "CancelledError"),
    "GeneratorExit": (raising(GeneratorExit()), "GeneratorExit"),
    "StopIteration": (raising(StopIteration()), "coroutine raised StopIteration"),
    "a BaseException of its own": (raising(Unheard("go")), "go"),
    "no text": (raising(Unprintable()), "Unprintable"),
    "a timeout": (wait_too_long, "TimeoutError"),
    "a part that was cancelled": (cancel_a_part, "CancelledError"),
    "its own cancellation": (cancel_itself, "CancelledError"),
    "a group": (fail_in_a_group, "unhandled errors in a TaskGroup (1 sub-exception)"),
}


async def test_whatever_a_coroutine_raises_fails_its_job_and_not_the_pool(pool: Pool) -> None:
    async def fail(payload: str, helpers: Helpers) -> None:
        await WAYS[payload][0](payload)

    heard, ran = Heard(), list[object]()
    await add(pool, "fail", list(WAYS))
    await _never_again(pool)
    tasks = {"fail": fail, "good": lambda payload, _: ran.append(payload)}
    async with await run_task_list(tasks, pool, options(events=heard.bus)) as workers:
        await until(lambda: len(heard.data("job:error")) == len(WAYS))
        await workers.add_job("good")
        await until(lambda: ran)
    expected = {way: (1, None, text) for way, (_, text) in WAYS.items()}
    assert await failures(pool) == expected


RAISED: list[tuple[BaseException, str]] = [
    (ValueError("no"), "no"),
    (SystemExit(1), "1"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
    (asyncio.CancelledError("no"), "no"),
    (StopIteration("no"), "coroutine raised StopIteration"),
    (GeneratorExit(), "GeneratorExit"),
    (Unheard("no"), "no"),
    (TimeoutError("no"), "no"),
]


async def test_whatever_a_thread_raises_fails_its_job_and_not_the_pool(pool: Pool) -> None:
    def fail(payload: int, helpers: object) -> None:
        raise RAISED[payload][0]

    await add(pool, "fail", range(len(RAISED)))
    await _never_again(pool)
    await asyncio.wait_for(run_task_list_once({"fail": fail}, pool, options()), 20)
    expected = {n: (1, None, text) for n, (_, text) in enumerate(RAISED)}
    assert await failures(pool) == expected


TEXTS = {
    "a\0b": "a\\x00b",
    "lone \ud800": "lone \\ud800",
    "öäü ✓ 𝄞": "öäü ✓ 𝄞",
    "  ": "ValueError",
    "line\nline": "line\nline",
    "x" * 2**20: "x" * (ERROR_LIMIT - 1) + "…",
}


async def test_the_text_of_an_error_is_kept_as_far_as_a_table_can_hold_it(pool: Pool) -> None:
    texts = list(TEXTS)

    async def fail(payload: int, helpers: object) -> None:
        raise ValueError(texts[payload])

    await add(pool, "fail", range(len(texts)))
    await _never_again(pool)
    await run_task_list_once({"fail": fail}, pool, options())
    assert await failures(pool) == {n: (1, None, TEXTS[text]) for n, text in enumerate(texts)}


async def test_the_back_off_is_that_of_graphile_worker(pool: Pool) -> None:
    async def fail(payload: object, helpers: object) -> None:
        raise ValueError("no")

    attempts = [1, 2, 5, 10, 11, 20]
    heard = Heard()
    await add(pool, "fail", attempts)
    await pool.execute(f"update {JOBS} set attempts = payload::text::int - 1")
    before = datetime.now(UTC)
    await run_task_list_once({"fail": fail}, pool, options(events=heard.bus))
    after = datetime.now(UTC)

    delays = [timedelta(seconds=math.exp(min(attempt, 10))) for attempt in attempts]
    for left, attempt, delay in zip(await rows(pool), attempts, delays, strict=True):
        assert left["attempts"] == attempt
        assert before + delay <= left["run_at"] <= after + delay
    assert [data.outcome.retry_delay for data in heard.data("job:error")] == delays


async def _never_again(pool: Pool) -> None:
    """Let no job run twice, however long the others take."""
    await pool.execute(f"update {JOBS} set max_attempts = 1")


async def failures(pool: Pool) -> dict[object, tuple[int, str | None, str | None]]:
    """Attempts, owner and error of each job, by its payload."""
    return {
        json.loads(row["payload"]): (row["attempts"], row["locked_by"], row["last_error"])
        for row in await rows(pool)
    }


async def test_a_job_fails_for_good_after_its_last_attempt_and_stays(pool: Pool) -> None:
    runs = 0

    async def fail(payload: object, helpers: object) -> None:
        nonlocal runs
        runs += 1
        raise ValueError(f"run {runs}")

    await WorkerUtils(pool).add_job("fail", spec=TaskSpec(max_attempts=3, queue_name="line"))
    for _ in range(5):
        await run_task_list_once({"fail": fail}, pool, options())
        await pool.execute("update graphile_worker._private_jobs set run_at = now()")

    [left] = await rows(pool)
    assert (runs, left["attempts"], left["last_error"]) == (3, 3, "run 3")
    assert not left["is_available"]
    assert await locked(pool) == 0


async def test_a_key_taken_over_while_the_job_runs_makes_its_failure_final(pool: Pool) -> None:
    runs: list[object] = []

    async def fail(payload: object, helpers: Helpers) -> None:
        runs.append(payload)
        if payload == "old":
            await helpers.add_job("fail", "new", TaskSpec(job_key="k"))
        raise ValueError("no")

    heard = Heard()
    await WorkerUtils(pool).add_job("fail", "old", TaskSpec(job_key="k"))
    await run_task_list_once({"fail": fail}, pool, options(events=heard.bus))

    assert runs == ["old", "new"]
    old, new = await rows(pool)
    assert (old["key"], old["is_available"]) == (None, False)
    assert (new["key"], new["attempts"]) == ("k", 1)


async def test_a_payload_that_python_cannot_hold_fails_its_job_alone(pool: Pool) -> None:
    deep = "[" * 5000 + "]" * 5000
    digits = "9" * (sys.get_int_max_str_digits() + 1)
    ran: list[object] = []
    for text in (digits, deep):
        await pool.execute("select graphile_worker.add_job('t', $1::text::json)", text)
    await add(pool, "t", ["good"])
    await run_task_list_once({"t": lambda payload, _: ran.append(payload)}, pool, options())

    assert ran == ["good"]
    assert [row["attempts"] for row in await rows(pool)] == [1, 1]


async def test_one_job_that_cannot_be_deleted_holds_no_other_up(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "REFUSED_DELAY", 0.3)
    lines, heard = Lines(), Heard()
    ids = await add(pool, "t", range(50))
    await refuse_deleting(pool, ids[20])
    async with await run_task_list(
        {"t": lambda *_: None}, pool, options(concurrency=5, events=heard.bus, logger=lines)
    ):
        await until(lambda: len(heard.data("job:success")) == 49)
        [left] = await rows(pool)
        assert left["id"] == ids[20]
        await until(lambda: lines.said(f"the outcome of job {ids[20]} was refused"))
        await pool.execute("drop trigger refuse on graphile_worker._private_jobs")
        await until(lambda: is_empty(pool))
    await assert_nothing_left(pool)


async def refuse_deleting(pool: Pool, job_id: int) -> None:
    """Have the database refuse it as a check: that is one of the errors with a class of its own."""
    await pool.execute(
        f"""create function refuse() returns trigger language plpgsql as $$
        begin
            if old.id = {job_id} then
                raise exception 'audit: this job stays' using errcode = 'check_violation';
            end if;
            return old;
        end $$;
        create trigger refuse before delete on graphile_worker._private_jobs
        for each row execute function refuse();"""
    )

"""Every firing of a recurring job is added once, whoever else adds it too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from waiting import SOMEBODY_WAITS, until

from kongtask.core.cron.crontab import parse_crontab
from kongtask.core.cron.item import ParsedCronItem
from kongtask.core.cron.schedule import KnownCrontab, Tick, next_due, ticks_due, ticks_owed
from kongtask.errors import ConfigurationError, InvalidJob
from kongtask.postgres.crontabs import CrontabStore
from kongtask.postgres.statements import DEFAULT_SCHEMA

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

JOBS = f"""
select jobs.task_identifier, jobs.run_at, jobs.queue_name, jobs.priority, jobs.max_attempts,
       jobs.key, jobs.revision, rows.payload::text as payload, rows.flags::text as flags
from {DEFAULT_SCHEMA}.jobs
join {DEFAULT_SCHEMA}._private_jobs as rows on rows.id = jobs.id
order by jobs.id
"""


@pytest.fixture
def store(pool: asyncpg.Pool[Any]) -> CrontabStore:
    return CrontabStore(pool, DEFAULT_SCHEMA)


@pytest.fixture
async def pool_with_codecs(database_url: str) -> AsyncIterator[asyncpg.Pool[Any]]:
    async def teach(connection: asyncpg.Connection[Any]) -> None:
        for name in ("json", "jsonb"):
            await connection.set_type_codec(
                name, schema="pg_catalog", encoder=json.dumps, decoder=json.loads
            )

    async with asyncpg.create_pool(database_url, min_size=1, max_size=2, init=teach) as pool:
        yield pool


def tick(crontab: str, timestamp: datetime = NOON, *, backfilled: bool = False) -> Tick:
    return Tick(timestamp=timestamp, items=parse_crontab(crontab), backfilled=backfilled)


async def test_registering_remembers_an_identifier_from_now_on(store: CrontabStore) -> None:
    await store.register(["b", "a"], NOON)
    assert await store.known() == {
        "a": KnownCrontab(known_since=NOON),
        "b": KnownCrontab(known_since=NOON),
    }


async def test_what_is_known_stays_as_it_is(store: CrontabStore) -> None:
    await store.register(["a"], NOON)
    await store.enqueue(tick("* * * * * a", NOON + MINUTE))
    await store.register(["a", "a", "b"], NOON + 5 * MINUTE)
    await store.register([], NOON)
    assert await store.known() == {
        "a": KnownCrontab(known_since=NOON, last_execution=NOON + MINUTE),
        "b": KnownCrontab(known_since=NOON + 5 * MINUTE),
    }


async def test_a_tick_becomes_jobs_with_all_their_options(
    store: CrontabStore, pool: asyncpg.Pool[Any]
) -> None:
    crontab = """
        * * * * * zebra ?id=first&queue=q&max=3&priority=-2&jobKey=k {a: [1, {b: null}], _cron: 9}
        * * * * * ant ?id=second
    """
    assert await store.enqueue(tick(crontab)) == ("first", "second")
    first, second = await pool.fetch(JOBS)
    assert (first["task_identifier"], second["task_identifier"]) == ("zebra", "ant")
    assert first["run_at"] == second["run_at"] == NOON
    assert (first["queue_name"], first["priority"], first["max_attempts"], first["key"]) == (
        "q", -2, 3, "k",
    )  # fmt: skip
    assert (second["queue_name"], second["priority"], second["max_attempts"]) == (None, 0, 25)
    assert first["flags"] is None
    cron = {"ts": "2026-03-04T12:00:00.000Z", "backfilled": False}
    assert json.loads(first["payload"]) == {"a": [1, {"b": None}], "_cron": cron}
    assert json.loads(second["payload"]) == {"_cron": cron}


async def test_a_job_says_that_it_was_made_up_for(
    store: CrontabStore, pool: asyncpg.Pool[Any]
) -> None:
    await store.enqueue(tick("* * * * * a", backfilled=True))
    payload = json.loads((await pool.fetchrow(JOBS))["payload"])  # type: ignore[index]
    assert payload["_cron"]["backfilled"] is True


async def test_a_minute_that_is_not_later_than_the_last_adds_nothing(
    store: CrontabStore, pool: asyncpg.Pool[Any]
) -> None:
    assert await store.enqueue(tick("* * * * * a")) == ("a",)
    assert await store.enqueue(tick("* * * * * a")) == ()
    assert await store.enqueue(tick("* * * * * a", NOON - MINUTE)) == ()
    assert await store.enqueue(tick("* * * * * b\n* * * * * a")) == ("b",)
    assert await store.enqueue(tick("* * * * * a", NOON + MINUTE)) == ("a",)
    assert [row["task_identifier"] for row in await pool.fetch(JOBS)] == ["a", "b", "a"]


async def test_a_tick_without_items_needs_no_database(store: CrontabStore) -> None:
    assert await store.enqueue(Tick(timestamp=NOON, items=())) == ()


@pytest.mark.parametrize("codecs", [False, True], ids=["plain", "with json codecs"])
async def test_payloads_arrive_unharmed_through_any_pool(
    pool: asyncpg.Pool[Any], pool_with_codecs: asyncpg.Pool[Any], codecs: bool
) -> None:
    store = CrontabStore(pool_with_codecs if codecs else pool, DEFAULT_SCHEMA)
    await store.enqueue(tick(r"* * * * * a {text: 'ö \u0000 \ud83d\ude00 \"quoted\" \\n', n: 1e3}"))
    payload = json.loads((await pool.fetchrow(JOBS))["payload"])  # type: ignore[index]
    assert payload["text"] == 'ö \0 😀 "quoted" \\n'
    assert payload["n"] == 1000


async def test_ten_schedulers_add_each_firing_once(
    store: CrontabStore, pool: asyncpg.Pool[Any]
) -> None:
    items = parse_crontab("\n".join(f"*/{n} * * * * task_{n}" for n in range(1, 6)))
    ticks = ticks_due(items, NOON, NOON + 10 * MINUTE)
    start = asyncio.Event()

    async def scheduler(order: int) -> list[str]:
        await start.wait()
        won: list[str] = []
        for one in ticks:
            mixed = one.items[order % len(one.items) :] + one.items[: order % len(one.items)]
            won += await store.enqueue(Tick(timestamp=one.timestamp, items=mixed))
        return won

    schedulers = [asyncio.create_task(scheduler(order)) for order in range(10)]
    start.set()
    won = [identifier for winners in await asyncio.gather(*schedulers) for identifier in winners]
    expected = sorted((item.task, one.timestamp) for one in ticks for item in one.items)
    rows = await pool.fetch(JOBS)
    assert sorted((row["task_identifier"], row["run_at"]) for row in rows) == expected
    assert sorted(won) == sorted(identifier for identifier, _ in expected)


async def test_firings_with_a_job_key_share_one_waiting_job(
    store: CrontabStore, pool: asyncpg.Pool[Any]
) -> None:
    crontab = "* * * * * a ?jobKey=k\n* * * * * b ?jobKey=p&jobKeyMode=preserve_run_at"
    for minutes in (0, 240):
        await store.enqueue(tick(crontab, NOON + minutes * MINUTE))
    replaced, preserved = await pool.fetch(JOBS)
    assert (replaced["revision"], replaced["run_at"]) == (1, NOON + 240 * MINUTE)
    assert (preserved["revision"], preserved["run_at"]) == (1, NOON)
    stamps = [json.loads(row["payload"])["_cron"]["ts"] for row in (replaced, preserved)]
    assert stamps == ["2026-03-04T16:00:00.000Z"] * 2


async def test_a_keyed_job_that_is_locked_meanwhile_is_still_added(
    store: CrontabStore, pool: asyncpg.Pool[Any], database_url: str
) -> None:
    await store.enqueue(tick("* * * * * a ?jobKey=k"))
    worker = await asyncpg.connect(database_url)
    try:
        fetching = worker.transaction()
        await fetching.start()
        await worker.execute(
            f"update {DEFAULT_SCHEMA}._private_jobs set locked_at = now(), locked_by = 'w'"
        )
        late = asyncio.create_task(store.enqueue(tick("* * * * * a ?jobKey=k", NOON + MINUTE)))
        await _until_somebody_waits(pool)
        await fetching.commit()
        assert await asyncio.wait_for(late, 10) == ("a",)
    finally:
        await worker.close()
    assert [row["run_at"] for row in await pool.fetch(JOBS)] == [NOON, NOON + MINUTE]


async def _until_somebody_waits(pool: asyncpg.Pool[Any]) -> None:
    await until(lambda: pool.fetchval(SOMEBODY_WAITS))


async def test_what_the_database_refuses_leaves_nothing_behind(
    store: CrontabStore, pool: asyncpg.Pool[Any]
) -> None:
    bad = ParsedCronItem(
        task="x" * 129,
        identifier="bad",
        minutes=(0,),
        hours=(0,),
        dates=(1,),
        months=(1,),
        dows=(0,),
    )
    with pytest.raises(InvalidJob):
        await store.enqueue(Tick(timestamp=NOON, items=(*parse_crontab("* * * * * a"), bad)))
    assert await store.known() == {}
    assert await pool.fetch(JOBS) == []


async def test_a_schema_that_is_not_there_is_named(pool: asyncpg.Pool[Any]) -> None:
    with pytest.raises(ConfigurationError, match='schema "elsewhere"'):
        await CrontabStore(pool, "elsewhere").known()


async def test_a_scheduler_without_memory_catches_up_after_a_restart(
    store: CrontabStore, pool: asyncpg.Pool[Any]
) -> None:
    items = parse_crontab("0 12 * * * a\n1 12 * * * b")

    async def wake(now: datetime) -> list[str]:
        known = await store.known()
        won = [await store.enqueue(one) for one in ticks_owed(items, known, now)]
        await store.register({item.identifier for item in items} - known.keys(), now)
        return [identifier for winners in won for identifier in winners]

    assert await wake(NOON - 2 * MINUTE) == []
    assert next_due(items, NOON - 2 * MINUTE) == NOON
    assert await wake(NOON) == ["a"]
    assert await wake(NOON + timedelta(seconds=1)) == []
    assert await wake(NOON + timedelta(seconds=149)) == ["b"]
    assert await wake(NOON + timedelta(seconds=150)) == []
    assert len(await pool.fetch(JOBS)) == 2

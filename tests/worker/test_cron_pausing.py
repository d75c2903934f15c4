"""A recurring job is paused, resumed and run at once through the database, for all schedulers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from kongtask.core.cron.crontab import parse_crontab
from kongtask.core.cron.schedule import KnownCrontab, Tick, backfill_ticks, resume_point, ticks_owed
from kongtask.errors import ConfigurationError
from kongtask.postgres.crontabs import CrontabStore
from kongtask.postgres.statements import DEFAULT_SCHEMA

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ITEMS = parse_crontab("* * * * * report ?fill=1d&max=3&priority=-2 {to: 'all', _cron: 1}")


@pytest.fixture
async def store(pool: asyncpg.Pool[Any]) -> CrontabStore:
    store = CrontabStore(pool, DEFAULT_SCHEMA)
    await store.register(["report", "other"], NOON - DAY)
    await store.enqueue(Tick(timestamp=NOON, items=ITEMS))
    return store


async def test_a_paused_item_is_known_as_such(store: CrontabStore) -> None:
    assert await store.pause("report")
    assert await store.known() == {
        "other": KnownCrontab(known_since=NOON - DAY),
        "report": KnownCrontab(known_since=NOON - DAY, paused=True),
    }
    assert not await store.pause("report")


async def test_no_tick_of_a_paused_item_is_won(store: CrontabStore) -> None:
    await store.pause("report")
    late = Tick(timestamp=NOON + 900 * DAY, items=ITEMS)
    assert await store.enqueue(late) == ()
    assert await store.resume("report")
    assert await store.enqueue(late) == ("report",)


async def test_an_item_that_never_fired_can_be_paused(store: CrontabStore) -> None:
    assert await store.pause("other")
    assert (await store.known())["other"].paused


async def test_a_resumed_item_has_missed_nothing(store: CrontabStore) -> None:
    await store.pause("report")
    before = await store.now()
    assert await store.resume("report")
    known = await store.known()
    last = known["report"].last_execution
    assert last is not None
    assert before <= last <= await store.now()
    assert backfill_ticks(ITEMS, known, last) == ()
    assert not await store.resume("report")
    assert (await store.known())["report"].last_execution == last


async def test_resuming_what_is_not_paused_keeps_what_it_missed(store: CrontabStore) -> None:
    assert not await store.resume("report")
    assert not await store.resume("other")
    known = await store.known()
    assert known["report"].last_execution == NOON
    assert known["other"].last_execution is None


async def test_an_unknown_identifier_is_refused_with_close_ones(store: CrontabStore) -> None:
    expected = "no recurring job 'reprot' in schema graphile_worker: did you mean report?"
    for change in (store.pause, store.resume):
        with pytest.raises(ConfigurationError) as caught:
            await change("reprot")
        assert str(caught.value) == expected
    with pytest.raises(ConfigurationError, match="there are other, report"):
        await store.pause("zzz")


async def test_an_endless_past_is_known_as_never(
    store: CrontabStore, pool: asyncpg.Pool[Any]
) -> None:
    await pool.execute(
        f"update {DEFAULT_SCHEMA}._private_known_crontabs set last_execution = '-infinity'"
    )
    assert (await store.known())["report"] == KnownCrontab(known_since=NOON - DAY)


@pytest.mark.parametrize("paused", [False, True], ids=["while it fires", "while it is paused"])
async def test_an_item_is_run_now(
    store: CrontabStore, pool: asyncpg.Pool[Any], paused: bool
) -> None:
    if paused:
        await store.pause("report")
    known, before = await store.known(), await store.now()
    job = await store.run_now(ITEMS[0])
    assert (job.task_identifier, job.max_attempts, job.priority) == ("report", 3, -2)
    payload = json.loads(
        await pool.fetchval(
            f"select payload::text from {DEFAULT_SCHEMA}._private_jobs where id = $1", job.id
        )
    )
    moment = datetime.fromisoformat(payload["_cron"].pop("ts"))
    assert before - timedelta(milliseconds=1) <= moment <= await store.now()
    assert payload == {"to": "all", "_cron": {"backfilled": False}}
    assert job.run_at <= await store.now()
    assert await store.known() == known


def test_a_paused_item_owes_nothing() -> None:
    known = {"report": KnownCrontab(known_since=NOON - DAY, paused=True)}
    assert resume_point(known["report"], NOON) == NOON
    assert ticks_owed(ITEMS, known, NOON) == ()
    assert backfill_ticks(ITEMS, known, NOON) == ()

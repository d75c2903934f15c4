"""Whatever is thrown at the API, its own errors come out, nothing is half added, no secret shows.

`KONGTASK_TEST_LONG=1` tries many more values, and payloads of 100 MiB.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeAlias
from urllib.parse import quote

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from postgres_server import run

from kongtask import (
    ConfigurationError,
    CronItem,
    CronItemOptions,
    InvalidJob,
    KongTaskError,
    RescheduleSpec,
    StoreUnavailable,
    TaskSpec,
    WorkerPoolOptions,
    WorkerUtils,
    parse_cron_items,
    parse_crontab,
    run_migrations,
    run_task_list_once,
)
from kongtask.core.task_spec import check_job
from kongtask.postgres.pool import check_dsn, describe

Pool: TypeAlias = "asyncpg.Pool[Any]"
LONG = bool(os.environ.get("KONGTASK_TEST_LONG"))
often = settings(
    max_examples=2000 if LONG else 150, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
sometimes = settings(often, max_examples=300 if LONG else 25)

COUNT = "select count(*) from graphile_worker._private_jobs"
MIB = 2**20
FACE = "\U0001f600"
"""A character of four bytes."""


class Odd:
    """An object that cannot even say what it is."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


texts = st.text(st.characters(), max_size=40)
anything: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, st.binary(max_size=9),
    st.datetimes(), st.datetimes(timezones=st.just(UTC)), st.dates(), st.timedeltas(),
    st.lists(st.integers() | texts, max_size=3), st.dictionaries(texts, st.integers(), max_size=2),
    st.decimals(), st.sampled_from([10**5000, Odd(), Odd, print, [[]], {1, 2}, datetime.max, (),
                                    datetime.max.replace(tzinfo=timezone(-timedelta(hours=9)))]),
)  # fmt: skip


@contextmanager
def only_our_errors(*kinds: type[KongTaskError]) -> Iterator[list[KongTaskError]]:
    """Hold the package's error, if one came; any other exception fails the test."""
    caught: list[KongTaskError] = []
    try:
        yield caught
    except kinds as error:
        caught.append(error)
    assert all(0 < len(str(error)) < 2000 for error in caught)


def deep(levels: int) -> Any:
    payload: Any = 1
    for _ in range(levels):
        payload = [payload]
    return payload


@contextmanager
def deep_recursion() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(60_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@often
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(TaskSpec.__dataclass_fields__, anything)),
       texts | anything)  # fmt: skip
def test_a_specification_keeps_the_rules_or_is_refused(fields: dict[str, Any], task: Any) -> None:
    with only_our_errors(InvalidJob) as caught:
        check_job(task, TaskSpec(**fields), 3)
    for error in caught:
        assert isinstance(error, InvalidJob)
        assert error.field in {"task", *TaskSpec.__dataclass_fields__}
        assert error.position == 3


@often
@given(st.sampled_from(sorted(WorkerPoolOptions.__dataclass_fields__)), anything)
def test_an_option_of_a_pool_works_or_is_refused(field: str, value: Any) -> None:
    with only_our_errors(ConfigurationError) as caught:
        WorkerPoolOptions(**{field: value})
    for error in caught:
        assert field in str(error)


@often
@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(CronItemOptions.__dataclass_fields__, anything)
    ),
    anything,
    anything,
)
def test_options_of_recurring_jobs_work_or_are_refused(
    fields: dict[str, Any], task: Any, identifier: Any
) -> None:
    for items in (
        [CronItem(task="report", match="* * * * *", options=CronItemOptions(**fields))],
        [CronItem(task=task, match="* * * * *", identifier=identifier, payload=fields)],
        [CronItem(task="report", match=task, pattern=identifier, options=identifier)],
        [identifier],
    ):
        with only_our_errors(ConfigurationError):
            for parsed in parse_cron_items(items):
                check_job(*parsed.job[::2])
    with only_our_errors(ConfigurationError):
        parse_crontab(task)


PAYLOADS: dict[str, Any] = {
    "not a number": float("nan"), "infinity": [float("-inf")], "bytes": b"x", "a set": {1},
    "too deep": deep(10_000), "too many digits": 10**5000, "an odd object": Odd(),
    "a key of another kind": {(1, 2): 3}, "itself": (loop := []) or loop.append(loop) or loop,
}  # fmt: skip
STORABLE: dict[str, Any] = {
    "NUL": {"a\0": "\0"}, "a lone surrogate": ["\ud800", {"\udfff": "x\ud800y"}],
    "a text of NUL": "\0", "faces": FACE * 300, "a MiB": "x" * MIB, "many digits": 10**4000,
    "deep": deep(400), "numbers as keys": {1: 2, None: 3},
}  # fmt: skip


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
async def test_a_payload_that_is_not_json_is_refused(pool: Pool, payload: Any) -> None:
    utils = WorkerUtils(pool)
    with pytest.raises(InvalidJob) as one:
        await utils.add_job("t", payload)
    with pytest.raises(InvalidJob) as many:
        await utils.add_jobs([("t", 1, None), ("t", payload, None)])
    for error in (one.value, many.value):
        assert (error.code, error.field, error.value) == ("", "payload", type(payload).__name__)
    assert (one.value.position, many.value.position) == (None, 1)
    assert await pool.fetchval(COUNT) == 0


@pytest.mark.parametrize("payload", STORABLE.values(), ids=STORABLE)
async def test_a_payload_that_is_json_comes_back_as_it_was(pool: Pool, payload: Any) -> None:
    utils = WorkerUtils(pool)
    jobs = [await utils.add_job("t", payload), *await utils.add_jobs([("t", payload, None)] * 2)]
    assert [job.payload for job in jobs] == [json.loads(json.dumps(payload))] * 3


async def test_what_is_too_deep_for_postgres_is_refused(pool: Pool) -> None:
    """Python can write it when somebody raised its limit; the server's stack has its own."""
    utils = WorkerUtils(pool)
    with deep_recursion():
        for _ in range(2):
            with pytest.raises(InvalidJob, match="stack depth"):
                await utils.add_job("t", deep(20_000))
            with pytest.raises(InvalidJob, match="stack depth"):
                await utils.add_jobs([("t", 1, None), ("t", deep(20_000), None)])
    assert await pool.fetchval(COUNT) == 0


@pytest.mark.skipif(not LONG, reason="needs KONGTASK_TEST_LONG=1")
async def test_a_payload_of_a_hundred_mib_comes_back(pool: Pool) -> None:
    payload = {"text": "x" * (100 * MIB)}
    utils = WorkerUtils(pool)
    assert (await utils.add_job("t", payload)).payload == payload
    (job,) = await utils.add_jobs([("t", payload, None)])
    assert job.payload == payload


LIMITS = {"task": 128, "queue_name": 128, "job_key": 512}
CODES = {"task": "GWBID", "queue_name": "GWBQN", "job_key": "GWBJK"}


def job_with(field: str, text: str) -> tuple[str, object, TaskSpec]:
    given = {"task": "t", field: text}
    return given.pop("task"), {}, TaskSpec(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("letter", ["x", "é", FACE], ids=["one byte", "two", "four"])
@pytest.mark.parametrize("field", LIMITS)
async def test_limits_count_characters(pool: Pool, field: str, letter: str) -> None:
    utils = WorkerUtils(pool)
    over = job_with(field, letter * (LIMITS[field] + 1))
    with pytest.raises(InvalidJob) as one:
        await utils.add_job(*over)
    with pytest.raises(InvalidJob) as many:
        await utils.add_jobs([job_with(field, letter), over])
    for error in (one.value, many.value):
        assert (error.code, error.field, error.limit) == (CODES[field], field, LIMITS[field])
        assert error.value == letter * (LIMITS[field] + 1)
    assert await pool.fetchval(COUNT) == 0

    at = job_with(field, letter * LIMITS[field])
    jobs = [await utils.add_job(*at), *await utils.add_jobs([at])]
    for job in jobs:
        assert letter * LIMITS[field] in (job.task_identifier, job.queue_name, job.key)


BROKEN: dict[str, tuple[str, object, TaskSpec]] = {
    "task": job_with("task", "x" * 129), "faces": job_with("task", FACE * 129),
    "queue": job_with("queue_name", "x" * 129), "key": job_with("job_key", "x" * 513),
    "no key": job_with("job_key", ""), "attempts": ("t", {}, TaskSpec(max_attempts=0)),
    "fewer attempts": ("t", {}, TaskSpec(max_attempts=-5)),
    "mode": ("t", {}, TaskSpec(job_key="k", job_key_mode="merge")),  # type: ignore[arg-type]
}  # fmt: skip
LARGEST: tuple[str, object, TaskSpec] = (
    FACE * 128, {}, TaskSpec(queue_name=FACE * 128, job_key=FACE * 512, max_attempts=1)
)  # fmt: skip
"""Keeps every rule, though it has more bytes than what breaks them."""


def facts(error: InvalidJob) -> tuple[object, ...]:
    return type(error), error.code, error.field, error.value, error.limit, error.position


@pytest.mark.parametrize("name", BROKEN)
async def test_postgres_finds_the_same_error_as_python(
    pool: Pool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    utils, broken = WorkerUtils(pool), BROKEN[name]

    async def refused() -> list[tuple[object, ...]]:
        with pytest.raises(InvalidJob) as one:
            await utils.add_job(*broken)
        with pytest.raises(InvalidJob) as many:
            await utils.add_jobs([LARGEST, broken, ("t", {}, None)])
        return [facts(one.value), facts(many.value)]

    by_python = await refused()
    monkeypatch.setattr("kongtask.core.new_job.check_job", lambda *_: None)
    if name == "mode":  # one call of the database's `add_jobs` takes no modes
        with pytest.raises(InvalidJob) as one:
            await utils.add_job(*broken)
        assert facts(one.value) == by_python[0]
        return
    assert await refused() == by_python
    assert await pool.fetchval(COUNT) == 0


@sometimes
@given(st.lists(st.tuples(texts | anything, anything, anything) | anything, max_size=3))
@example([([], None, None)])
def test_jobs_of_any_kind_are_added_or_refused_as_a_whole(
    database_url: str, jobs: list[Any]
) -> None:
    async def add() -> None:
        async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool:
            before = await pool.fetchval(COUNT)
            with only_our_errors(InvalidJob) as caught:
                await WorkerUtils(pool).add_jobs(jobs)
            added = await pool.fetchval(COUNT) - before
            assert added == (0 if caught else len(jobs))

    run(add())


@sometimes
@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(RescheduleSpec.__dataclass_fields__, anything)
    ),
    anything, anything,
)  # fmt: skip
@example({}, b"", "t")
@example({}, "t", b"")
def test_administration_does_what_it_is_asked_or_refuses(
    database_url: str, fields: dict[str, Any], one: Any, other: Any
) -> None:
    async def look_after() -> None:
        async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool:
            utils = WorkerUtils(pool)
            calls: list[Callable[[], Any]] = [
                lambda: utils.reschedule_jobs([1], RescheduleSpec(**fields)),
                lambda: utils.reschedule_jobs(one, other),
                lambda: utils.complete_jobs(one),
                lambda: utils.permanently_fail_jobs([1], one),
                lambda: utils.cancel_jobs([1], one),
                lambda: utils.remove_job(one),
                lambda: utils.force_unlock_workers(one),
                lambda: utils.list_jobs("waiting", one),
                lambda: utils.list_jobs(one),
                lambda: utils.cleanup(one),
                lambda: utils.cleanup(["gc_task_identifiers"], one),
            ]
            for call in calls:
                with only_our_errors(InvalidJob, ConfigurationError):
                    await call()

    run(look_after())


@sometimes
@given(anything, anything)
def test_tasks_of_any_kind_run_or_are_refused(database_url: str, one: Any, other: Any) -> None:
    async def work() -> None:
        for tasks, pool, options in (
            (one, database_url, None), ({"t": one}, database_url, None), ({"t": print}, one, None),
            ({"t": print}, database_url, one), ([("t", print)], other, None),
        ):  # fmt: skip
            with only_our_errors(ConfigurationError):
                await run_task_list_once(tasks, pool, options)

    run(work())


SCHEMAS = (
    'quo"te', "do.t", "dol$lar", "$$", "x'; drop schema public; --", "s" * 63, "é" * 31, FACE * 15,
    " ", "{schema}", "50%", "back\\slash", "new\nline", "select",
)  # fmt: skip
REFUSED_SCHEMAS = (
    "", "s" * 64, "é" * 32, FACE * 16, "nu\0l", "\ud800", "$kongtask$", "pg_mine", None, 7, ["s"],
)  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS if LONG else SCHEMAS[:6], ids=repr)
async def test_a_schema_may_have_an_odd_name(empty_database_url: str, schema: str) -> None:
    async with asyncpg.create_pool(empty_database_url, min_size=1, max_size=4) as pool:
        await run_migrations(pool, schema)
        utils = WorkerUtils(pool, schema)
        await utils.add_job("t", {"n": 1}, TaskSpec(job_key="k"))
        await utils.add_jobs([("t", {"n": 2}, None)])
        options = WorkerPoolOptions(schema=schema, no_handle_signals=True)
        ran: list[int] = []
        await run_task_list_once({"t": lambda payload, _: ran.append(payload["n"])}, pool, options)
        assert sorted(ran) == [1, 2]


@pytest.mark.parametrize("schema", REFUSED_SCHEMAS, ids=repr)
async def test_a_schema_that_cannot_be_is_refused(empty_database_url: str, schema: Any) -> None:
    async with asyncpg.create_pool(empty_database_url, min_size=1, max_size=4) as pool:
        with pytest.raises(ConfigurationError):
            await run_migrations(pool, schema)
        with pytest.raises(ConfigurationError):
            await WorkerUtils(pool, schema).add_job("t")
        assert not await pool.fetchval(
            "select exists (select from pg_class where relname = 'jobs')"
        )


SECRET = "hUnter2"
SIGNS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ \té" + FACE
passwords = st.text(SIGNS, max_size=6).map(lambda signs: f"{SECRET}{signs}{SECRET}")
FORMS = (
    "postgres://me:{}@127.0.0.1:1/shop", "postgresql://me:{}@[::1]:1/shop",
    "postgres://me:{}@/shop?host=/nowhere", "postgres://me@127.0.0.1:1/shop?password={}",
    "postgres://:{}@127.0.0.1:1", "me:{}@127.0.0.1/shop", "postgres://me:1{}@127.0.0.1:1/shop",
    "postgres://me:1/{}@127.0.0.1:1/shop", "postgres://me:1?{}@127.0.0.1:1/shop",
    "postgres://me:1#{}@127.0.0.1:1/shop", "postgres://me:[{}@127.0.0.1:1/shop", "mysql://me:{}@db",
    "postgres://me:1@2/{}@127.0.0.1:1/shop", "postgres://me:1@2/x?{}@127.0.0.1:1/shop",
)  # fmt: skip


async def connecting(dsn: Any) -> KongTaskError:
    with pytest.raises((ConfigurationError, StoreUnavailable)) as it:
        await WorkerUtils.connect(dsn)
    return it.value


@often
@given(st.sampled_from(FORMS), passwords, st.booleans())
@example("postgres://me:{}@127.0.0.1:1/shop", "hUnter2@,hUnter2", False)
@example("postgres://me:1@2/{}@127.0.0.1:1/shop", "hUnter2#hUnter2", False)
@example("postgres://me:1@2/x?{}@127.0.0.1:1/shop", "hUnter2", False)
def test_no_error_shows_a_password(form: str, password: str, encoded: bool) -> None:
    dsn = form.format(quote(password, safe="") if encoded else password)
    error = run(connecting(dsn))
    for shown in (describe(dsn), "".join(traceback.format_exception(error)), repr(error)):
        assert SECRET not in shown


@often
@given(anything | texts | texts.map("postgres://{}".format))
def test_a_connection_string_is_one_or_is_refused(dsn: Any) -> None:
    with only_our_errors(ConfigurationError):
        check_dsn(dsn)
    if isinstance(dsn, str):
        assert describe(dsn) is not None


@pytest.mark.parametrize(
    "dsn, shown",
    [("postgres://me@[::1]:5433/shop", "me@[::1]:5433/shop"),
     ("postgres://me@%2Frun%2Fpg/shop", "me@/run/pg:5432/shop"),
     ("postgres:///shop?host=/run/pg", "/run/pg/shop"),
     ("postgres://m%40e:x@db/sh%40op", "m@e@db:5432/sh%40op")],
)  # fmt: skip
def test_an_odd_address_is_named(dsn: str, shown: str) -> None:
    check_dsn(dsn)
    assert describe(dsn) == shown


async def test_options_that_the_server_refuses_are_the_users_mistake(database_url: str) -> None:
    for tail in ("no_such_option=1", "sslmode=perhaps", "options=-c%20nothing%3D1"):
        assert isinstance(await connecting(f"{database_url}?{tail}"), ConfigurationError)


async def test_a_password_of_signs_opens_the_door(database_url: str) -> None:
    password = f"{SECRET}{SIGNS.strip()}"
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        name = await pool.fetchval("select 'odd' || md5(random()::text)")
        quoted = await pool.fetchval("select quote_literal($1::text)", password)
        await pool.execute(f"create role {name} login superuser password {quoted}")
        try:
            _, _, place = database_url.rpartition("@")
            url = f"postgres://{name}:{quote(password, safe='')}@{place}"
            async with await WorkerUtils.connect(url) as utils:
                assert await utils.pool.fetchval("select current_user") == name
            wrong = await connecting(url.replace("hUnter2", "hUnter3"))
            assert isinstance(wrong, ConfigurationError)
        finally:
            await pool.execute(f"drop role {name}")
